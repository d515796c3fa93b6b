/* The compiled twin of walk.py: walks the records of one section and says whether they are sound.
 *
 * walk(section, count) -> (least timestamp delta, greatest, any null key, offsets consecutive) or None
 *
 * A record: varint length, i8 attributes, varlong timestamp delta, varint offset delta, varint key length, key,
 * varint value length, value, varint header count, headers of (varint length, key, varint length, value).
 * All varints are zigzag. Every read is bounded by the end of the record, and the record by the end of the section.
 */
#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>

#define MIN_RECORD_BYTES 7

/* Reads a varint of at most max_bytes bytes and max_bits bits; returns the position behind it, NULL if malformed. */
static const uint8_t *
read_varint(const uint8_t *p, const uint8_t *end, int max_bytes, int max_bits, int64_t *out)
{
    uint64_t value = 0;
    for (int i = 0; i < max_bytes; i++) {
        if (p >= end)
            return NULL;
        uint64_t byte = *p++;
        int shift = 7 * i;
        if (shift + 7 > max_bits && (byte & 0x7F) >> (max_bits - shift))
            return NULL;
        value |= (byte & 0x7F) << shift;
        if (byte < 128) {
            *out = (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
            return p;
        }
    }
    return NULL;
}

static inline const uint8_t *
read_int(const uint8_t *p, const uint8_t *end, int64_t *out)
{
    if (p < end && *p < 128) {
        *out = (int64_t)(*p >> 1) ^ -(int64_t)(*p & 1);
        return p + 1;
    }
    return read_varint(p, end, 5, 32, out);
}

/* Skips a length and that many bytes; a negative length, which stands for null, has none. */
static inline const uint8_t *
skip_field(const uint8_t *p, const uint8_t *end, int64_t *size)
{
    p = read_int(p, end, size);
    if (p == NULL || *size > end - p)
        return NULL;
    return *size > 0 ? p + *size : p;
}

static const uint8_t *
skip_headers(const uint8_t *p, const uint8_t *end)
{
    int64_t count, size;
    p = read_int(p, end, &count);
    if (p == NULL || count < 0 || count > end - p)
        return NULL;
    for (int64_t i = 0; i < count; i++) {
        p = skip_field(p, end, &size);
        if (p == NULL || size < 0)
            return NULL;
        p = skip_field(p, end, &size);
        if (p == NULL)
            return NULL;
    }
    return p;
}

static PyObject *
walk(PyObject *self, PyObject *args)
{
    Py_buffer section;
    long long count;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*L", &section, &count))
        return NULL;
    const uint8_t *p = section.buf, *end = p + section.len;
    int64_t least = INT64_MAX, greatest = INT64_MIN;
    int null_key = 0, consecutive = 1;
    int sound = count >= 1 && count <= section.len / MIN_RECORD_BYTES;
    for (long long i = 0; sound && i < count; i++) {
        int64_t size, timestamp, offset, key, value;
        sound = 0;
        if ((p = read_int(p, end, &size)) == NULL || size < 1 || size > end - p)
            break;
        const uint8_t *stop = p + size;
        if ((p = read_varint(p + 1, stop, 10, 64, &timestamp)) == NULL || (p = read_int(p, stop, &offset)) == NULL
            || (p = skip_field(p, stop, &key)) == NULL || (p = skip_field(p, stop, &value)) == NULL
            || (p = skip_headers(p, stop)) != stop)
            break;
        least = timestamp < least ? timestamp : least;
        greatest = timestamp > greatest ? timestamp : greatest;
        null_key |= key < 0;
        consecutive &= offset == i;
        sound = 1;
    }
    sound = sound && p == end;
    PyBuffer_Release(&section);
    if (!sound)
        Py_RETURN_NONE;
    return Py_BuildValue("LLNN", (long long)least, (long long)greatest, PyBool_FromLong(null_key),
                         PyBool_FromLong(consecutive));
}

static PyMethodDef methods[] = {
    {"walk", walk, METH_VARARGS, "Walk the records of a section; None if they are not sound."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_walk", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC
PyInit__walk(void)
{
    return PyModuleDef_Init(&module);
}
