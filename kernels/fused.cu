// From logits to the loss of each row and its gradient, which takes the place of the logits: each
// logit is read once and written once.
//
// A cluster of CTAs owns a row at a time, and a CTA a slice of it. Most threads of a CTA are holders:
// they keep the slice in registers from the time it arrives until its gradient leaves. One more warp
// directs: it makes the copy engine fill a ring in shared memory with the slices to come, and settles
// rows. A row goes like this:
//
//   holders   take vectors from the ring, give slots back, add up; a warp's sums go to all directors
//   directors put the sums of all warps of the cluster together, and with the token's old log-prob,
//             advantage and so on compute its loss and four numbers for the gradient
//   holders   turn the vectors that they hold into the gradient and write it
//
// Every director does the same computation on the same numbers in the same order, so all CTAs agree
// without a second exchange. Loading goes on all the time: the ring runs ahead into the next rows.
//
// This file is compiled once for each plan (src/cuda/plan.rs): element type, CTAs in a cluster,
// holders in a CTA, vectors a holder can hold, slots of the ring, CTAs an SM.
#include "arguments.cuh"
#include "row.cuh"
#include "token_loss.cuh"

struct FusedArguments {
    Rows logits;
    Rows dlogits;  // may be the logits
    const i64* ids;
    Scales scales;
    const double* weights;  // zero: the row has no part in the loss, and its gradient is 0
    TokenInputs inputs;
    LossSettings settings;
    double* logp;
    double* entropy;
    u8* status;  // or null
    u32 rows;
    u32 vocabulary;
    u32 leave_unsound;  // whether a row with a fault is left as it was, not made NaN
    u32 unused;
};
static_assert(sizeof(FusedArguments) == 288, "has a twin in src/cuda");

#ifdef HAS_CLUSTERS

typedef ICPO_ELEMENT Element;
static const u32 CLUSTER = ICPO_CLUSTER;
static const u32 HOLDERS = ICPO_THREADS;
static const u32 WARPS = HOLDERS / 32;
// A slot of the ring gives each holder two vectors, so that waiting for it, freeing it and looking
// for a new maximum are shared by both.
static const u32 TOGETHER = 2;
static const u32 SLOT_VECTORS = HOLDERS * TOGETHER;
static const u32 SLOTS = ICPO_SLOTS / TOGETHER;
static const u32 CHUNKS = (ICPO_HELD + TOGETHER - 1) / TOGETHER;
static const u32 HELD = CHUNKS * TOGETHER;

// What a warp of holders tells the directors.
struct alignas(16) Message {
    double rest, weighted;
    float reference;
    float label;  // logit of the selected token, −inf if the warp does not hold it
    u32 unused[2];
};
static const u32 MESSAGE_BYTES = 24;  // of these are sent

// What a director tells its holders.
struct Orders {
    RowGradient gradient;
    u32 leave;
    u32 unused[3];
};

struct Shared {
    uint4 ring[SLOTS][SLOT_VECTORS];
    u64 full[SLOTS];   // the copy engine has filled a slot
    u64 empty[SLOTS];  // all warps have emptied it
    // All messages of a row are here. Rows take turns between two: a fast CTA may send those of the
    // next row before the last of this row has come.
    u64 told[2];
    u64 settled;  // orders are given
    Message messages[2][CLUSTER * WARPS];
    Orders orders;
};
static_assert(sizeof(Shared) <= ICPO_SHARED, "the plan reserves too little shared memory");

// What is to be done with a row: its selected token if it is to be trained on, or one of these. It
// follows from weight and token alone, so that all threads of the cluster agree without a word.
static const u32 ZERO = 0xfffffffeu;   // no part in the loss: its gradient is 0
static const u32 LEAVE = 0xffffffffu;  // a token outside the vocabulary

DEVICE u32 task_of(const FusedArguments& a, u32 row) {
    if (row >= a.rows) return LEAVE;
    if (a.weights[row] == 0.0) return ZERO;
    const i64 id = a.ids[row];
    return id < 0 || id >= (i64)a.vocabulary ? LEAVE : (u32)id;
}

// The first row from `row` on, of those of this cluster, that has a loss.
DEVICE u32 next_trained(const FusedArguments& a, u32 row) {
    while (row < a.rows && task_of(a, row) >= ZERO) row += cluster_count();
    return row;
}

// The part of a row that belongs to this CTA, in vectors.
struct Slice {
    u32 first;
    u32 vectors;
    u32 chunks;  // slots that it fills
};

DEVICE Slice slice_of(u32 vocabulary) {
    const u32 all = vocabulary / Element::COUNT, share = (all + CLUSTER - 1) / CLUSTER;
    Slice slice;
    slice.first = cluster_rank() * share;
    const u32 left = slice.first < all ? all - slice.first : 0;
    slice.vectors = left < share ? left : share;
    slice.chunks = (slice.vectors + SLOT_VECTORS - 1) / SLOT_VECTORS;
    return slice;
}

// ---- the director's warp

// Fills slot after slot with the slices of the rows of this cluster.
struct Loader {
    u32 row;
    u32 chunk;
    u32 slot;
    u32 parity;

    DEVICE bool may_load(const FusedArguments& a, Shared* shared) const {
        return row < a.rows && barrier_ended(&shared->empty[slot], parity);
    }
    DEVICE void load(const FusedArguments& a, Shared* shared, const Slice& slice, bool leader) {
        if (leader) {
            const u32 left = slice.vectors - chunk * SLOT_VECTORS;
            const u32 bytes = (left < SLOT_VECTORS ? left : SLOT_VECTORS) * 16;
            const u8* const from = a.logits.row<Element>(row) +
                                   ((u64)slice.first + (u64)chunk * SLOT_VECTORS) * 16;
            barrier_arrive_expecting(&shared->full[slot], bytes);
            bulk_load(shared->ring[slot], from, bytes, &shared->full[slot]);
        }
        if (++slot == SLOTS) {
            slot = 0;
            parity ^= 1;
        }
        if (++chunk == slice.chunks) {
            chunk = 0;
            row = next_trained(a, row + cluster_count());
        }
    }
};

// What a director knows of a row before any logit has come.
struct Known {
    Token token;
    double weight;
    double scale;
};

DEVICE Known known_of(const FusedArguments& a, u32 row) {
    return Known{load_token(a.inputs, row, 0.0), a.weights[row], a.scales.at(row)};
}

// From the messages of all warps to the loss and the orders. All lanes compute the same.
DEVICE void settle(const FusedArguments& a, Shared* shared, const Message* messages, u32 row,
                   Known known, u32 lane) {
    State state = state_of(no_sums());
    float label = -infinity();
    for (u32 i = lane; i < CLUSTER * WARPS; i += 32) {
        const State other = {messages[i].rest, messages[i].weighted, messages[i].reference};
        state = merge(state, other);
        label = max_or_nan(label, messages[i].label);
    }
    state = across_lanes(state);
    UNROLL for (int step = 16; step; step >>= 1) label = max_or_nan(label, shuffle_xor(label, step));

    const double c = (double)(float)known.scale;
    const double selected = ((double)label * c - (double)state.reference) * LN2;
    const RowResult result =
        finish_row(state.rest, state.weighted * LN2, selected, excess_of(known.scale));
    const bool warm = c > 0.0 && c < (double)infinity();
    const u32 status = row_and_input_status(warm ? result.status : (u32)BAD_TEMPERATURE,
                                            input_status(known.token, a.settings));
    known.token.logp = result.logp;
    const TokenLoss loss = token_loss(known.token, a.settings);
    const RowGradient gradient = row_gradient(
        (double)state.reference + result.log_sum / LN2, result.logp, result.entropy,
        known.weight * loss.d_logp, -known.weight * a.settings.entropy_coef, c * LN2);
    if (lane == 0) {
        shared->orders.gradient = gradient;
        shared->orders.leave = a.leave_unsound && status != SOUND;
        if (cluster_rank() == 0) {
            a.logp[row] = result.logp;
            a.entropy[row] = reported_entropy(result.entropy);
            if (a.status) a.status[row] = (u8)status;
        }
    }
}

static const u32 NOTHING_NEW = 0, SLOT_EMPTY = 1, ALL_TOLD = 2;

DEVICE void direct(const FusedArguments& a, Shared* shared, const Slice& slice, u32 lane) {
    Loader loader = {next_trained(a, cluster_index()), 0, 0, 1};
    if (slice.chunks == 0) loader.row = a.rows;
    u32 row = next_trained(a, cluster_index());
    if (row >= a.rows) return;
    const u32 told = CLUSTER * WARPS * MESSAGE_BYTES;
    if (lane == 0) {
        barrier_arrive_expecting(&shared->told[0], told);
        barrier_arrive_expecting(&shared->told[1], told);
    }
    Known known = known_of(a, row);
    u32 turn = 0, parity = 0;
    while (true) {
        // One lane looks, until there is something to do, so that all lanes see the same.
        u32 news = NOTHING_NEW;
        while (lane == 0 && news == NOTHING_NEW) {
            if (barrier_ended_for_cluster(&shared->told[turn], parity)) news = ALL_TOLD;
            else if (loader.may_load(a, shared)) news = SLOT_EMPTY;
        }
        news = shuffle_first(news);
        sync_warp();  // what one lane has acquired, the others may read
        if (news == ALL_TOLD) {
            settle(a, shared, shared->messages[turn], row, known, lane);
            sync_warp();
            if (lane == 0) {
                barrier_arrive_expecting(&shared->told[turn], told);
                barrier_arrive(&shared->settled);
            }
            row = next_trained(a, row + cluster_count());
            if (row >= a.rows) return;
            known = known_of(a, row);
            parity ^= turn;
            turn ^= 1;
        } else {
            loader.load(a, shared, slice, lane == 0);
        }
    }
}

// ---- the holders

DEVICE void write_zeros(u8* to, const Slice& slice, u32 holder) {
    for (u32 v = holder; v < slice.vectors; v += HOLDERS) {
        store_16(to + (u64)v * 16, uint4{0, 0, 0, 0});
    }
}

// Adds the vectors of a chunk, but not the one around the selected token.
DEVICE void add_chunk(Sums& sums, const uint4* vectors, u32 chunk, const Slice& slice, u32 holder,
                      u32 label_vector, float c) {
    bool adds[TOGETHER];
    float greatest = -infinity();
    UNROLL for (u32 i = 0; i < TOGETHER; i++) {
        const u32 v = (chunk * TOGETHER + i) * HOLDERS + holder;
        adds[i] = v < slice.vectors && v != label_vector;
        if (adds[i]) greatest = fmaxf(greatest, Element::greatest(vectors[i]));
    }
    make_room(sums, greatest, c);
    UNROLL for (u32 i = 0; i < TOGETHER; i++) {
        if (adds[i]) {
            float x[Element::COUNT];
            Element::unpack(vectors[i], x);
            add<Element::COUNT>(sums, x, c);
        }
    }
}

// Adds the vector around the selected token without it, and gives its logit. Done once a row, by one
// thread, so that the loop over all vectors need not carry it.
DEVICE float add_around_label(Sums& sums, const uint4* held, u32 index, u32 place, float c) {
    uint4 bits = held[0];
    UNROLL for (u32 i = 1; i < HELD; i++) {
        if (i == index) bits = held[i];
    }
    float x[Element::COUNT];
    Element::unpack(bits, x);
    make_room(sums, Element::greatest(bits), c);
    const float label = take_out<Element>(x, place);
    add<Element::COUNT>(sums, x, c);
    return label;
}

template <bool ENTROPY>
DEVICE void hold(const FusedArguments& a, Shared* shared, const Slice& slice, u32 holder) {
    const u32 lane = holder % 32, warp = holder / 32;
    u32 slot = 0, slot_parity = 0, turn = 0, settled_parity = 0;
    u32 row = cluster_index();
    // Read one row ahead: a row must not start by waiting for memory to say which token it is.
    u32 task = task_of(a, row);
    while (row < a.rows) {
        const u32 next_task = task_of(a, row + cluster_count());
        if (task == ZERO) {
            write_zeros(a.dlogits.row<Element>(row) + (u64)slice.first * 16, slice, holder);
        }
        if (task >= ZERO && holder == 0 && cluster_rank() == 0) {
            a.logp[row] = a.entropy[row] = task == ZERO ? 0.0 : (double)not_a_number();
            if (a.status) a.status[row] = task == ZERO ? SOUND : BAD_ID;
        }
        if (task < ZERO) {
            const float c = a.scales.rounded(row);
            const u32 label_vector = task / Element::COUNT - slice.first;
            const u32 place = task % Element::COUNT;
            uint4 held[HELD];
            Sums sums = no_sums();
            float label = -infinity();
            UNROLL for (u32 chunk = 0; chunk < CHUNKS; chunk++) {
                if (chunk < slice.chunks) {
                    barrier_wait(&shared->full[slot], slot_parity);
                    // Beyond the end of the slice there is something left from another row.
                    UNROLL for (u32 i = 0; i < TOGETHER; i++) {
                        held[chunk * TOGETHER + i] = shared->ring[slot][i * HOLDERS + holder];
                    }
                    sync_warp();
                    if (lane == 0) barrier_arrive(&shared->empty[slot]);
                    if (++slot == SLOTS) {
                        slot = 0;
                        slot_parity ^= 1;
                    }
                    add_chunk(sums, held + chunk * TOGETHER, chunk, slice, holder, label_vector, c);
                }
            }
            if (label_vector < slice.vectors && label_vector % HOLDERS == holder) {
                label = add_around_label(sums, held, label_vector / HOLDERS, place, c);
            }
            const State state = across_lanes(state_of(sums));
            UNROLL for (int step = 16; step; step >>= 1) {
                label = max_or_nan(label, shuffle_xor(label, step));
            }
            if (lane < CLUSTER) {
                Message* const to_director =
                    &shared->messages[turn][cluster_rank() * WARPS + warp];
                u64* const told = &shared->told[turn];
                send_16(to_director, told, lane, double_low(state.rest), double_high(state.rest),
                        double_low(state.weighted), double_high(state.weighted));
                send_8(&to_director->reference, told, lane, float_to_bits(state.reference),
                       float_to_bits(label));
            }
            turn ^= 1;
            barrier_wait(&shared->settled, settled_parity);
            settled_parity ^= 1;
            const RowGradient gradient = shared->orders.gradient;
            if (!shared->orders.leave) {
                u8* const to = a.dlogits.row<Element>(row) + (u64)slice.first * 16;
                UNROLL for (u32 i = 0; i < HELD; i++) {
                    const u32 v = i * HOLDERS + holder;
                    if (v < slice.vectors) {
                        float x[Element::COUNT];
                        Element::unpack(held[i], x);
                        to_gradient<Element::COUNT, ENTROPY>(x, c, gradient);
                        store_16(to + (u64)v * 16, Element::pack(x));
                    }
                }
                // The selected token's own gradient, by the thread that wrote the vector around it.
                if (label_vector < slice.vectors && label_vector % HOLDERS == holder) {
                    Element::store(to + (u64)label_vector * 16 + place * Element::SIZE,
                                   gradient.label);
                }
            }
        }
        row += cluster_count();
        task = next_task;
    }
}

template <bool ENTROPY> DEVICE void fused(const FusedArguments& a) {
    Shared* const shared = (Shared*)shared_memory();
    if (threadIdx.x == 0) {
        for (u32 i = 0; i < SLOTS; i++) {
            barrier_init(&shared->full[i], 1);
            barrier_init(&shared->empty[i], WARPS);
        }
        barrier_init(&shared->told[0], 1);
        barrier_init(&shared->told[1], 1);
        barrier_init(&shared->settled, 1);
        barrier_init_done();
    }
    sync_cluster();
    const Slice slice = slice_of(a.vocabulary);
    if (threadIdx.x >= HOLDERS) direct(a, shared, slice, threadIdx.x - HOLDERS);
    else hold<ENTROPY>(a, shared, slice, threadIdx.x);
    // Nobody leaves while somebody may still send to it.
    sync_cluster();
}

KERNEL(icpo_fused, FusedArguments, ICPO_THREADS + 32, ICPO_BLOCKS_PER_SM) {
    fused<false>(arguments);
}
KERNEL(icpo_fused_entropy, FusedArguments, ICPO_THREADS + 32, ICPO_BLOCKS_PER_SM) {
    fused<true>(arguments);
}

#endif
