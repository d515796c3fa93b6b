/* The compiled twin of produce_frame.py: reads a Produce request of the shape that nearly all have.
 *
 * read(buffer, start, stop) -> (version, correlation id, acks, topic, partition, start and stop of the records) or None
 *
 * The frame without its size is buffer[start:stop]. Every read is bounded by its end.
 */
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdint.h>

enum { OLDEST = 3, FLEXIBLE_SINCE = 9, BY_ID_SINCE = 13, NEWEST = 13, UUID_BYTES = 16 };

/* `left` is negative once something was read that is not there; nothing is read from then on. */
struct cursor {
    const uint8_t *at;
    Py_ssize_t left;
};

static uint64_t
take(struct cursor *c, int bytes)
{
    uint64_t value = 0;
    if (c->left < bytes) {
        c->left = -1;
        return 0;
    }
    for (int i = 0; i < bytes; i++)
        value = value << 8 | c->at[i];
    c->at += bytes;
    c->left -= bytes;
    return value;
}

static const uint8_t *
take_bytes(struct cursor *c, int64_t size)
{
    const uint8_t *found = c->at;
    if (size < 0 || size > c->left) {
        c->left = -1;
        return NULL;
    }
    c->at += size;
    c->left -= size;
    return found;
}

/* A length or count: compact as its successor in a varint of at most five bytes, else in `width` bytes. */
static int64_t
take_length(struct cursor *c, int is_flexible, int width)
{
    if (!is_flexible) {
        uint64_t value = take(c, width);
        return width == 2 ? (int16_t)value : (int32_t)value;
    }
    uint64_t value = 0;
    for (int shift = 0; shift < 35; shift += 7) {
        uint64_t byte = take(c, 1);
        value |= (byte & 0x7F) << shift;
        if (byte < 128)
            return (int64_t)value - 1;
    }
    c->left = -1;
    return 0;
}

static int
has_tags(struct cursor *c, int is_flexible)
{
    return is_flexible && take(c, 1) != 0;
}

static int
is_ascii(const uint8_t *text, int64_t size)
{
    for (int64_t i = 0; i < size; i++)
        if (text[i] > 127)
            return 0;
    return 1;
}

struct request {
    int version, acks;
    int32_t correlation_id, partition;
    const uint8_t *topic, *records;
    int64_t topic_size, records_size;
};

/* Whether the frame is of the ordinary shape, to its last byte. */
static int
read_request(struct cursor c, struct request *out)
{
    if (take(&c, 2) != 0 /* Produce */)
        return 0;
    out->version = (int16_t)take(&c, 2);
    if (out->version < OLDEST || out->version > NEWEST)
        return 0;
    int flexible = out->version >= FLEXIBLE_SINCE;
    out->correlation_id = (int32_t)take(&c, 4);
    int64_t client_size = take_length(&c, 0, 2);
    if (client_size > 0) {
        const uint8_t *client = take_bytes(&c, client_size);
        if (client == NULL || !is_ascii(client, client_size))
            return 0;
    } else if (client_size < -1)
        return 0;
    if (has_tags(&c, flexible) || take_length(&c, flexible, 2) != -1 /* transactional id */)
        return 0;
    out->acks = (int16_t)take(&c, 2);
    take(&c, 4); /* timeout */
    if (take_length(&c, flexible, 4) != 1 /* topics */)
        return 0;
    out->topic_size = out->version >= BY_ID_SINCE ? UUID_BYTES : take_length(&c, flexible, 2);
    out->topic = take_bytes(&c, out->topic_size);
    if (out->topic == NULL || (out->version < BY_ID_SINCE && !is_ascii(out->topic, out->topic_size)))
        return 0;
    if (take_length(&c, flexible, 4) != 1 /* partitions */)
        return 0;
    out->partition = (int32_t)take(&c, 4);
    out->records_size = take_length(&c, flexible, 4);
    out->records = take_bytes(&c, out->records_size);
    int tags = has_tags(&c, flexible);
    tags |= has_tags(&c, flexible);
    tags |= has_tags(&c, flexible);
    return !tags && c.left == 0 && out->records_size > 0 && (out->acks == 1 || out->acks == -1);
}

static PyObject *
read_frame(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    Py_buffer buffer;
    struct request found;
    PyObject *result = NULL;
    (void)self;
    if (count != 3) {
        PyErr_SetString(PyExc_TypeError, "read(buffer, start, stop)");
        return NULL;
    }
    Py_ssize_t start = PyLong_AsSsize_t(args[1]), stop = PyLong_AsSsize_t(args[2]);
    if (PyErr_Occurred() || PyObject_GetBuffer(args[0], &buffer, PyBUF_SIMPLE) < 0)
        return NULL;
    if (start < 0 || stop < start || stop > buffer.len) {
        PyErr_SetString(PyExc_ValueError, "no such part of the buffer");
    } else if (read_request((struct cursor){(const uint8_t *)buffer.buf + start, stop - start}, &found)) {
        Py_ssize_t at = found.records - (const uint8_t *)buffer.buf;
        /* No "#" formats: what Python 3.13 makes of them, an older one cannot run. */
        PyObject *topic = found.version >= BY_ID_SINCE
                              ? PyBytes_FromStringAndSize((const char *)found.topic, (Py_ssize_t)found.topic_size)
                              : PyUnicode_FromStringAndSize((const char *)found.topic, (Py_ssize_t)found.topic_size);
        if (topic != NULL)
            result = Py_BuildValue("iiiNinn", found.version, found.correlation_id, found.acks, topic, found.partition, at,
                                   at + (Py_ssize_t)found.records_size);
    } else {
        result = Py_NewRef(Py_None);
    }
    PyBuffer_Release(&buffer);
    return result;
}

static PyMethodDef methods[] = {
    {"read", (PyCFunction)(void (*)(void))read_frame, METH_FASTCALL, "Read an ordinary Produce request; None for any other."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_produce_frame", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC
PyInit__produce_frame(void)
{
    return PyModuleDef_Init(&module);
}
