// Log-probability, entropy and rank of selected tokens, and the gradient of the first two.
//
// Forward: a pass over the logits leaves five numbers a row, from which a second, tiny kernel makes
// the results. Between the two, states of the shards of a vocabulary can be put together. Backward:
// a tiny kernel makes four coefficients a row, and a pass over the logits applies them. So nothing
// that is computed once a row runs while a row waits.
#include "arguments.cuh"
#include "row.cuh"

static const u32 PASS_THREADS = 256;
static const u32 PASS_WARPS = PASS_THREADS / 32;
// Loads under way at a time, in each thread. Five blocks an SM have 80 kB on their way, three times
// what latency × bandwidth asks for.
static const u32 AHEAD = 4;

// How a row lies relative to 16-byte boundaries: some single elements, vectors, some more elements.
struct Layout {
    u32 head;
    u32 vectors;
    u32 tail;  // where the elements behind the vectors start
};

template <class Element> DEVICE Layout layout_of(const void* row, u32 vocabulary) {
    Layout layout;
    layout.head = (u32)((16 - (u64)row % 16) % 16) / Element::SIZE;
    if (layout.head > vocabulary) layout.head = vocabulary;
    layout.vectors = (vocabulary - layout.head) / Element::COUNT;
    layout.tail = layout.head + layout.vectors * Element::COUNT;
    return layout;
}

// ---- forward

struct RowStatesArguments {
    Rows logits;
    const i64* ids;
    Scales scales;
    double* states;  // (rows, 5): reference, rest, weighted, label, above
    i64 first_id;
    const double* weights;  // or null; rows of weight 0 are not read
    u32 rows;
    u32 vocabulary;
};
static_assert(sizeof(RowStatesArguments) == 88, "has a twin in src/cuda");

template <class Element>
DEVICE void add_vector(Sums& sums, u32& above, uint4 bits, float label, float c) {
    float x[Element::COUNT];
    Element::unpack(bits, x);
    add<Element::COUNT>(sums, x, c);
    UNROLL for (int i = 0; i < Element::COUNT; i++) count_greater(above, x[i], label);
}

template <class Element> DEVICE void row_states(const RowStatesArguments& a) {
    const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    State* const states = (State*)shared_memory();              // (2, warps)
    u32* const counts = (u32*)(states + 2 * PASS_WARPS);        // (2, warps)
    // Rows take turns between two buffers, so that one barrier a row is enough: whoever writes a
    // buffer again has met, at the barrier of the row between, those who read it.
    u32 turn = 0;
    for (u32 row = blockIdx.x; row < a.rows; row += gridDim.x) {
        if (a.weights && a.weights[row] == 0.0) {
            // As of a row with one token: log-prob and entropy 0.
            if (threadIdx.x < 5) a.states[(u64)row * 5 + threadIdx.x] = 0.0;
            continue;
        }
        const u8* const logits = a.logits.row<Element>(row);
        const float c = a.scales.rounded(row);
        const i64 selected = a.ids[row] - a.first_id;
        const bool here = selected >= 0 && selected < (i64)a.vocabulary;
        // Nothing exceeds +inf: a shard without the selected token counts no rank.
        const float label = here ? Element::load(logits + selected * Element::SIZE) : infinity();
        const Layout layout = layout_of<Element>(logits, a.vocabulary);
        const u8* const body = logits + layout.head * Element::SIZE;
        // The vector around the selected token counts as nothing; its elements follow one by one.
        u32 label_vector = NO_VECTOR, around = layout.tail, taken_apart = 0;
        if (here && selected >= layout.head && selected < layout.tail) {
            label_vector = ((u32)selected - layout.head) / Element::COUNT;
            around = layout.head + label_vector * Element::COUNT;
            taken_apart = Element::COUNT;
        }
        Sums sums = no_sums();
        u32 above = 0;
        u32 v = threadIdx.x;
        for (; v + (AHEAD - 1) * PASS_THREADS < layout.vectors; v += AHEAD * PASS_THREADS) {
            uint4 bits[AHEAD];
            UNROLL for (u32 i = 0; i < AHEAD; i++) {
                bits[i] = load_16(body + (u64)(v + i * PASS_THREADS) * 16);
            }
            UNROLL for (u32 i = 0; i < AHEAD; i++) {
                if (v + i * PASS_THREADS == label_vector) bits[i] = Element::nothing();
            }
            float greatest = Element::greatest(bits[0]);
            UNROLL for (u32 i = 1; i < AHEAD; i++) {
                greatest = fmaxf(greatest, Element::greatest(bits[i]));
            }
            make_room(sums, greatest, c);
            UNROLL for (u32 i = 0; i < AHEAD; i++) {
                add_vector<Element>(sums, above, bits[i], label, c);
            }
        }
        for (; v < layout.vectors; v += PASS_THREADS) {
            uint4 bits = load_16(body + (u64)v * 16);
            if (v == label_vector) bits = Element::nothing();
            make_room(sums, Element::greatest(bits), c);
            add_vector<Element>(sums, above, bits, label, c);
        }
        // A thread each for the elements of that vector, and at most seven on either side of all.
        const u32 behind = a.vocabulary - layout.tail;
        if (threadIdx.x < taken_apart + layout.head + behind) {
            u32 i = around + threadIdx.x;
            if (threadIdx.x >= taken_apart) i = threadIdx.x - taken_apart;
            if (threadIdx.x >= taken_apart + layout.head) i += layout.tail - layout.head;
            float x = Element::load(logits + (u64)i * Element::SIZE);
            make_room(sums, x, c);
            count_greater(above, x, label);
            if (here && i == (u32)selected) x = -infinity();
            add<1>(sums, &x, c);
        }
        State state = across_lanes(state_of(sums));
        UNROLL for (int step = 16; step; step >>= 1) above += shuffle_xor(above, step);
        if (lane == 0) {
            states[turn * PASS_WARPS + warp] = state;
            counts[turn * PASS_WARPS + warp] = above;
        }
        sync_block();
        if (warp == 0) {
            state = lane < PASS_WARPS ? states[turn * PASS_WARPS + lane] : state_of(no_sums());
            above = lane < PASS_WARPS ? counts[turn * PASS_WARPS + lane] : 0;
            state = across_lanes(state);
            UNROLL for (int step = 16; step; step >>= 1) above += shuffle_xor(above, step);
            if (lane == 0) {
                double* const out = a.states + (u64)row * 5;
                out[0] = (double)state.reference / (double)c;
                out[1] = state.rest;
                out[2] = state.weighted * LN2;
                out[3] = here ? (double)label : -(double)infinity();
                out[4] = (double)above;
            }
        }
        turn ^= 1;
    }
}

KERNEL(icpo_row_states_bf16, RowStatesArguments, 256, 4) { row_states<BF16>(arguments); }
KERNEL(icpo_row_states_f16, RowStatesArguments, 256, 4) { row_states<F16>(arguments); }
KERNEL(icpo_row_states_f32, RowStatesArguments, 256, 4) { row_states<F32>(arguments); }

struct FinishRowsArguments {
    const double* states;  // (shards, rows, 5)
    i64 shard_stride;      // in doubles
    const i64* ids;
    Scales scales;
    float* logp;     // (rows,), as all that follow; each may be null
    float* entropy;
    i64* rank;
    double* saved;   // (rows, 4): reference, log sum, logp, entropy
    u8* status;
    i64 vocabulary;  // of all shards
    u32 shards;
    u32 rows;
};
static_assert(sizeof(FinishRowsArguments) == 96, "has a twin in src/cuda");

KERNEL(icpo_finish_rows, FinishRowsArguments, 128, 1) {
    const FinishRowsArguments& a = arguments;
    const u32 row = blockIdx.x * 128 + threadIdx.x;
    if (row >= a.rows) return;
    const double scale = a.scales.at(row);
    const double inverse_temperature = (double)(float)scale * LN2;
    double reference = -(double)infinity(), label = -(double)infinity(), above = 0.0;
    for (u32 shard = 0; shard < a.shards; shard++) {
        const double* const state = a.states + shard * a.shard_stride + (u64)row * 5;
        reference = fmax(reference, state[0]);
        // Only the shard that holds the token knows its logit; a NaN stays.
        label = state[3] > label || state[3] != state[3] ? state[3] : label;
        above += state[4];
    }
    double rest = 0.0, weighted = 0.0;
    for (u32 shard = 0; shard < a.shards; shard++) {
        const double* const state = a.states + shard * a.shard_stride + (u64)row * 5;
        const double shift = (state[0] - reference) * inverse_temperature, factor = exp(shift);
        rest += factor * state[1];
        weighted += factor * (state[2] + state[1] * shift);
    }
    RowResult result = finish_row(rest, weighted, (label - reference) * inverse_temperature,
                                  excess_of(scale));
    if (a.ids[row] < 0 || a.ids[row] >= a.vocabulary) {
        result.log_sum = result.logp = result.entropy = (double)not_a_number();
        result.status = BAD_ID;
    } else if (!(inverse_temperature > 0.0 && inverse_temperature < (double)infinity())) {
        result.status = BAD_TEMPERATURE;
    }
    if (a.logp) a.logp[row] = (float)result.logp;
    if (a.entropy) a.entropy[row] = (float)reported_entropy(result.entropy);
    if (a.rank) a.rank[row] = (i64)above + 1;
    if (a.saved) {
        double* const saved = a.saved + (u64)row * 4;
        saved[0] = reference;
        saved[1] = result.log_sum;
        saved[2] = result.logp;
        saved[3] = result.entropy;
    }
    if (a.status) a.status[row] = (u8)result.status;
}

// ---- backward

struct RowGradientsArguments {
    const double* saved;
    const double* d_logp;
    const double* d_entropy;
    Scales scales;
    float* coefficients;  // (rows, 4)
    u32 rows;
    u32 unused;
};
static_assert(sizeof(RowGradientsArguments) == 56, "has a twin in src/cuda");

KERNEL(icpo_row_gradients, RowGradientsArguments, 128, 1) {
    const RowGradientsArguments& a = arguments;
    const u32 row = blockIdx.x * 128 + threadIdx.x;
    if (row >= a.rows) return;
    const double g = a.d_logp[row], h = a.d_entropy[row];
    RowGradient gradient = {0.f, 0.f, 0.f, 0.f};
    // A row without part in the loss may hold anything; its gradient is 0 whatever it holds.
    if (g != 0.0 || h != 0.0) {
        const double* const saved = a.saved + (u64)row * 4;
        const double c = (double)a.scales.rounded(row);
        gradient = row_gradient(saved[0] * c + saved[1] / LN2, saved[2], saved[3], g, h, c * LN2);
    }
    float* const out = a.coefficients + (u64)row * 4;
    out[0] = gradient.offset;
    out[1] = gradient.constant;
    out[2] = gradient.slope;
    out[3] = gradient.label;
}

struct GradientArguments {
    Rows logits;
    Rows dlogits;
    const i64* ids;
    const float* coefficients;
    Scales scales;
    const u8* status;  // or null; other rows than sound ones are left alone
    i64 first_id;
    u32 rows;
    u32 vocabulary;
    u32 splits;  // parts of a row, so that few rows fill the machine too
    u32 unused;
};
static_assert(sizeof(GradientArguments) == 128, "has a twin in src/cuda");

template <class Element, bool ENTROPY>
DEVICE void gradient_part(const u8* logits, u8* target, u32 part, u32 splits, u32 vocabulary,
                          i64 selected, float c, const RowGradient& row) {
    Layout layout = layout_of<Element>(logits, vocabulary);
    // Rows that lie differently to the boundaries can not share vectors.
    if ((u64)logits % 16 != (u64)target % 16) layout = Layout{vocabulary, 0, vocabulary};
    const u32 per_part = (layout.vectors + splits - 1) / splits;
    const u32 first = part * per_part;
    const u32 last = first + per_part < layout.vectors ? first + per_part : layout.vectors;
    const u8* const from = logits + (u64)layout.head * Element::SIZE;
    u8* const to = target + (u64)layout.head * Element::SIZE;
    u32 label_vector = NO_VECTOR, place = 0;
    if (selected >= layout.head && selected < layout.tail) {
        label_vector = ((u32)selected - layout.head) / Element::COUNT;
        place = ((u32)selected - layout.head) % Element::COUNT;
    }
    // In place, source and target are the same: a thread has read a vector when it writes it, and
    // nobody else looks at it.
    for (u32 v = first + threadIdx.x; v < last; v += AHEAD * PASS_THREADS) {
        uint4 bits[AHEAD];
        UNROLL for (u32 i = 0; i < AHEAD; i++) {
            if (v + i * PASS_THREADS < last) bits[i] = load_16(from + (u64)(v + i * PASS_THREADS) * 16);
        }
        UNROLL for (u32 i = 0; i < AHEAD; i++) {
            if (v + i * PASS_THREADS < last) {
                float x[Element::COUNT];
                Element::unpack(bits[i], x);
                to_gradient<Element::COUNT, ENTROPY>(x, c, row);
                u8* const there = to + (u64)(v + i * PASS_THREADS) * 16;
                store_16(there, Element::pack(x));
                // Over what the same thread has just written around it.
                if (v + i * PASS_THREADS == label_vector) {
                    Element::store(there + place * Element::SIZE, row.label);
                }
            }
        }
    }
    // What lies outside the vectors is shared out over the parts too: it may be the whole row.
    const u32 outside = layout.head + vocabulary - layout.tail;
    for (u32 n = part * PASS_THREADS + threadIdx.x; n < outside; n += splits * PASS_THREADS) {
        const u32 i = n < layout.head ? n : layout.tail + n - layout.head;
        float x = Element::load(logits + (u64)i * Element::SIZE);
        to_gradient<1, ENTROPY>(&x, c, row);
        Element::store(target + (u64)i * Element::SIZE, (i64)i == selected ? row.label : x);
    }
}

template <class Element>
DEVICE void zero_part(u8* target, u32 part, u32 splits, u32 vocabulary) {
    const Layout layout = layout_of<Element>(target, vocabulary);
    u8* const to = target + (u64)layout.head * Element::SIZE;
    const u32 stride = splits * PASS_THREADS, me = part * PASS_THREADS + threadIdx.x;
    for (u32 v = me; v < layout.vectors; v += stride) store_16(to + (u64)v * 16, uint4{0, 0, 0, 0});
    const u32 outside = layout.head + vocabulary - layout.tail;
    for (u32 n = me; n < outside; n += stride) {
        const u32 i = n < layout.head ? n : layout.tail + n - layout.head;
        Element::store(target + (u64)i * Element::SIZE, 0.f);
    }
}

template <class Element> DEVICE void gradient(const GradientArguments& a) {
    const u64 jobs = (u64)a.rows * a.splits;
    for (u64 job = blockIdx.x; job < jobs; job += gridDim.x) {
        const u32 row = (u32)(job / a.splits), part = (u32)(job - (u64)row * a.splits);
        if (a.status && a.status[row] != SOUND) continue;
        const float* const own = a.coefficients + (u64)row * 4;
        const RowGradient gradient = {own[0], own[1], own[2], own[3]};
        const u8* const from = a.logits.row<Element>(row);
        u8* const to = a.dlogits.row<Element>(row);
        const i64 selected = a.ids[row] - a.first_id;
        const float c = a.scales.rounded(row);
        if (gradient.slope != 0.f) {
            gradient_part<Element, true>(from, to, part, a.splits, a.vocabulary, selected, c,
                                         gradient);
        } else if (gradient.constant != 0.f || gradient.label != 0.f) {
            gradient_part<Element, false>(from, to, part, a.splits, a.vocabulary, selected, c,
                                          gradient);
        } else {
            zero_part<Element>(to, part, a.splits, a.vocabulary);
        }
    }
}

KERNEL(icpo_gradient_bf16, GradientArguments, 256, 4) { gradient<BF16>(arguments); }
KERNEL(icpo_gradient_f16, GradientArguments, 256, 4) { gradient<F16>(arguments); }
KERNEL(icpo_gradient_f32, GradientArguments, 256, 4) { gradient<F32>(arguments); }
