/* The compiled twin of walk.py: walks the records of one section and says whether they are sound.
 *
 * walk(section, count) -> (least timestamp delta, greatest, any null key, offsets consecutive) or None
 * glance(batch, most bytes) -> (the 13 fields of the header, least timestamp, any null key) or None
 *
 * A record: varint length, i8 attributes, varlong timestamp delta, varint offset delta, varint key length, key,
 * varint value length, value, varint header count, headers of (varint length, key, varint length, value).
 * All varints are zigzag. Every read is bounded by the end of the record, and the record by the end of the section.
 */
#define Py_LIMITED_API 0x030B0000
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

/* As read_varint; the lengths and deltas of nearly all records have at most three bytes. */
static inline const uint8_t *
read_short(const uint8_t *p, const uint8_t *end, int max_bytes, int max_bits, int64_t *out)
{
    if (end - p < 3)
        return read_varint(p, end, max_bytes, max_bits, out);
    uint32_t value = p[0];
    if (value < 128) {
        p += 1;
    } else if (p[1] < 128) {
        value = (value & 0x7F) | (uint32_t)p[1] << 7;
        p += 2;
    } else if (p[2] < 128) {
        value = (value & 0x7F) | (uint32_t)(p[1] & 0x7F) << 7 | (uint32_t)p[2] << 14;
        p += 3;
    } else {
        return read_varint(p, end, max_bytes, max_bits, out);
    }
    *out = (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
    return p;
}

static inline const uint8_t *
read_int(const uint8_t *p, const uint8_t *end, int64_t *out)
{
    return read_short(p, end, 5, 32, out);
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
    if (end - p == 1 && *p == 0)
        return end; /* none, as nearly always */
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

struct found {
    int64_t least, greatest;
    int null_key, consecutive;
};

/* Walks the records from p to end; 0 where they are not sound. */
static int
walk_records(const uint8_t *p, const uint8_t *end, int64_t count, struct found *out)
{
    int64_t least = INT64_MAX, greatest = INT64_MIN;
    int null_key = 0, consecutive = 1;
    if (count < 1 || count > (end - p) / MIN_RECORD_BYTES)
        return 0;
    for (int64_t i = 0; i < count; i++) {
        int64_t size, timestamp, offset, key, value;
        if ((p = read_int(p, end, &size)) == NULL || size < 1 || size > end - p)
            return 0;
        const uint8_t *stop = p + size;
        if ((p = read_short(p + 1, stop, 10, 64, &timestamp)) == NULL || (p = read_int(p, stop, &offset)) == NULL
            || (p = skip_field(p, stop, &key)) == NULL || (p = skip_field(p, stop, &value)) == NULL
            || (p = skip_headers(p, stop)) != stop)
            return 0;
        least = timestamp < least ? timestamp : least;
        greatest = timestamp > greatest ? timestamp : greatest;
        null_key |= key < 0;
        consecutive &= offset == i;
    }
    *out = (struct found){least, greatest, null_key, consecutive};
    return p == end;
}

static PyObject *
walk(PyObject *self, PyObject *const *args, Py_ssize_t count_of_args)
{
    Py_buffer section;
    struct found found;
    (void)self;
    if (count_of_args != 2) {
        PyErr_SetString(PyExc_TypeError, "walk(section, count)");
        return NULL;
    }
    long long count = PyLong_AsLongLong(args[1]);
    if ((count == -1 && PyErr_Occurred()) || PyObject_GetBuffer(args[0], &section, PyBUF_SIMPLE) < 0)
        return NULL;
    const uint8_t *records = section.buf;
    int sound = walk_records(records, records + section.len, count, &found);
    PyBuffer_Release(&section);
    if (!sound)
        Py_RETURN_NONE;
    return Py_BuildValue("LLNN", (long long)found.least, (long long)found.greatest, PyBool_FromLong(found.null_key),
                         PyBool_FromLong(found.consecutive));
}

/* --- the header of a batch: see batch.py for the fields */

enum { HEADER_BYTES = 61, LOG_OVERHEAD = 12, CURRENT_MAGIC = 2, TRANSACTIONAL = 0x10 };

static inline uint64_t
read_be(const uint8_t *p, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++)
        value = value << 8 | p[i];
    return value;
}

struct header {
    int64_t base_offset, base_timestamp, max_timestamp, producer_id;
    int32_t length, leader_epoch, last_offset_delta, base_sequence, count;
    uint32_t crc;
    int16_t attributes, producer_epoch;
    int8_t magic;
};

static struct header
read_header(const uint8_t *p)
{
    return (struct header){
        .base_offset = (int64_t)read_be(p, 8),
        .length = (int32_t)read_be(p + 8, 4),
        .leader_epoch = (int32_t)read_be(p + 12, 4),
        .magic = (int8_t)p[16],
        .crc = (uint32_t)read_be(p + 17, 4),
        .attributes = (int16_t)read_be(p + 21, 2),
        .last_offset_delta = (int32_t)read_be(p + 23, 4),
        .base_timestamp = (int64_t)read_be(p + 27, 8),
        .max_timestamp = (int64_t)read_be(p + 35, 8),
        .producer_id = (int64_t)read_be(p + 43, 8),
        .producer_epoch = (int16_t)read_be(p + 51, 2),
        .base_sequence = (int32_t)read_be(p + 53, 4),
        .count = (int32_t)read_be(p + 57, 4),
    };
}

/* Whether there is nothing about the batch that takes a closer look; its checksum is not looked at here. */
static int
is_ordinary(const uint8_t *batch, Py_ssize_t size, const struct header *h, int64_t *least, int *null_key)
{
    struct found found;
    int64_t greatest;
    if (h->base_offset != 0 || (int64_t)h->length + LOG_OVERHEAD != size || h->magic != CURRENT_MAGIC
        || (h->attributes & ~TRANSACTIONAL) || h->count < 1 || h->last_offset_delta != h->count - 1
        || (h->producer_id >= 0 && h->base_sequence < 0) || h->max_timestamp < -1)
        return 0;
    if (!walk_records(batch + HEADER_BYTES, batch + size, h->count, &found) || !found.consecutive)
        return 0;
    *null_key = found.null_key;
    return !__builtin_add_overflow(h->base_timestamp, found.least, least)
           && !__builtin_add_overflow(h->base_timestamp, found.greatest, &greatest) && *least > INT64_MIN
           && greatest == h->max_timestamp;
}

static PyObject *
glance(PyObject *self, PyObject *const *args, Py_ssize_t count_of_args)
{
    Py_buffer batch;
    struct header h;
    int64_t least;
    int null_key;
    (void)self;
    if (count_of_args != 2) {
        PyErr_SetString(PyExc_TypeError, "glance(batch, most bytes)");
        return NULL;
    }
    long long most = PyLong_AsLongLong(args[1]);
    if ((most == -1 && PyErr_Occurred()) || PyObject_GetBuffer(args[0], &batch, PyBUF_SIMPLE) < 0)
        return NULL;
    int ordinary = batch.len > HEADER_BYTES && batch.len <= most;
    if (ordinary) {
        h = read_header(batch.buf);
        ordinary = is_ordinary(batch.buf, batch.len, &h, &least, &null_key);
    }
    PyBuffer_Release(&batch);
    if (!ordinary)
        Py_RETURN_NONE;
    return Py_BuildValue("LiibIhiLLLhiiLN", (long long)h.base_offset, h.length, h.leader_epoch, h.magic, h.crc,
                         h.attributes, h.last_offset_delta, (long long)h.base_timestamp, (long long)h.max_timestamp,
                         (long long)h.producer_id, h.producer_epoch, h.base_sequence, h.count, (long long)least,
                         PyBool_FromLong(null_key));
}

static PyMethodDef methods[] = {
    {"walk", (PyCFunction)(void (*)(void))walk, METH_FASTCALL, "Walk the records of a section; None if they are not sound."},
    {"glance", (PyCFunction)(void (*)(void))glance, METH_FASTCALL, "What is to be known of a batch; None if it is unusual."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_walk", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC
PyInit__walk(void)
{
    return PyModuleDef_Init(&module);
}
