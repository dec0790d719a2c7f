// Multiplies rows in place by a factor that lies on the device: a gradient made before the factor
// was known. The factor is nearly always one; then nothing is read or written.
#include "arguments.cuh"
#include "element.cuh"

static const u32 SCALE_THREADS = 256;
// Loads under way at a time, in each thread.
static const u32 AHEAD = 4;
static const u32 PIECE = SCALE_THREADS * AHEAD;  // vectors of 16 bytes

struct ScaleArguments {
    Rows values;
    const float* factor;
    u32 rows;
    u32 columns;
};
static_assert(sizeof(ScaleArguments) == 48, "the twin in src/cuda/arguments.rs");

template <class Element> DEVICE void scale_vector(u8* at, uint4 bits, float factor) {
    float x[Element::COUNT];
    Element::unpack(bits, x);
    UNROLL for (int i = 0; i < Element::COUNT; i++) x[i] *= factor;
    store_16(at, Element::pack(x));
}

// Blocks take pieces of rows, in turn. A row is cut at multiples of 16 bytes; the first and the last
// vector may stand out of it, and go by single elements.
template <class Element> DEVICE void scale(const ScaleArguments& a) {
    const float factor = *a.factor;
    if (factor == 1.f) return;
    // A row that starts just below a multiple of 16 bytes touches one vector more.
    const u64 most_vectors = ((u64)a.columns * Element::SIZE + 15) / 16 + 1;
    const u32 pieces = (u32)((most_vectors + PIECE - 1) / PIECE);
    for (u64 piece = blockIdx.x; piece < (u64)a.rows * pieces; piece += gridDim.x) {
        const u32 row = (u32)(piece / pieces), part = (u32)(piece - (u64)row * pieces);
        u8* const start = a.values.row<Element>(row);
        u8* const end = start + (u64)a.columns * Element::SIZE;
        u8* const cut = start - (u64)start % 16;
        u8* const first = cut + ((u64)part * PIECE + threadIdx.x) * 16;
        uint4 bits[AHEAD];
        UNROLL for (u32 i = 0; i < AHEAD; i++) {
            u8* const at = first + i * SCALE_THREADS * 16;
            if (at >= start && at + 16 <= end) bits[i] = load_16(at);
        }
        UNROLL for (u32 i = 0; i < AHEAD; i++) {
            u8* const at = first + i * SCALE_THREADS * 16;
            if (at >= start && at + 16 <= end) {
                scale_vector<Element>(at, bits[i], factor);
            } else {
                for (u8* p = at; p < at + 16 && p < end; p += Element::SIZE) {
                    if (p >= start) Element::store(p, Element::load(p) * factor);
                }
            }
        }
    }
}

// No shared memory.
KERNEL(icpo_scale_bf16, ScaleArguments, 256, 4) { scale<BF16>(arguments); }
KERNEL(icpo_scale_f16, ScaleArguments, 256, 4) { scale<F16>(arguments); }
KERNEL(icpo_scale_f32, ScaleArguments, 256, 4) { scale<F32>(arguments); }
