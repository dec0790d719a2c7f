// The policy loss from log-probabilities: gradient, diagnostics, and what is wrong with each token.
//
// Sums are over fixed tokens in a fixed order: a thread's own tokens, the lanes of a warp, the warps
// of a block, the blocks. They do not depend on which block ran when, so runs agree bit by bit.
#include "arguments.cuh"
#include "token_loss.cuh"

static const u32 LOSS_THREADS = 256;
static const u32 LOSS_WARPS = LOSS_THREADS / 32;
static const u32 TOKENS_A_BLOCK = 1024;

// The entries of LossSums, in the order of src/objective/metrics.rs, which says what they mean.
enum Sum {
    ON_TOKENS,
    OFF_TOKENS,
    ON_ROWS,
    OFF_ROWS,
    ON_CLIPPED,
    ON_DUAL_CLIPPED,
    OFF_CLIPPED,
    ON_KL,
    OFF_KL,
    OFF_KL_TOKENS,
    ON_RATIO,
    OFF_RATIO,
    OFF_SHAPED,
    OFF_SLOPE,
    ON_ADVANTAGE,
    OFF_ADVANTAGE,
    ON_ENTROPY,
    OFF_ENTROPY,
    ON_ENTROPY_TOKENS,
    OFF_ENTROPY_TOKENS,
    REF_KL,
    REF_KL_TOKENS,
    LOSS_POLICY,
    LOSS_KL,
    LOSS_ENTROPY,
    LOSS_SFT,
    SUMS,
};

DEVICE double sum_of_lanes(double x) {
    UNROLL for (int step = 16; step; step >>= 1) x += shuffle_xor(x, step);
    return x;
}

struct PolicyLossArguments {
    Reals logp;
    Reals entropy;  // or absent
    TokenInputs inputs;
    const double* weights;  // 0: the mask leaves the token out, and nothing else of it is read
    LossSettings settings;
    RealsOut d_logp;       // or absent
    RealsOut d_entropy;    // or absent
    const u8* row_status;  // of the rows of logits that logp came from; or null
    u8* status;            // or null
    double* partials;      // (blocks, SUMS)
    u32 tokens;
    u32 unused;
};
static_assert(sizeof(PolicyLossArguments) == 256, "the twin in src/cuda/arguments.rs");

// Adds what one token contributes.
DEVICE void add_token(double* sums, const Token& token, const TokenLoss& loss, double weight,
                      bool has_entropy, double entropy, const LossSettings& settings) {
    if (token.expert) {
        sums[OFF_TOKENS] += 1.0;
        sums[OFF_CLIPPED] += loss.clipped ? 1.0 : 0.0;
        sums[OFF_RATIO] += loss.ratio;
        sums[OFF_SHAPED] += loss.shaped;
        sums[OFF_SLOPE] += loss.slope;
        sums[OFF_ADVANTAGE] += token.advantage;
        if (token.has_behavior) {
            sums[OFF_KL] += loss.log_shift;
            sums[OFF_KL_TOKENS] += 1.0;
        }
        if (has_entropy) {
            sums[OFF_ENTROPY] += entropy;
            sums[OFF_ENTROPY_TOKENS] += 1.0;
        }
    } else {
        sums[ON_TOKENS] += 1.0;
        sums[ON_CLIPPED] += loss.clipped ? 1.0 : 0.0;
        sums[ON_DUAL_CLIPPED] += loss.dual_clipped ? 1.0 : 0.0;
        sums[ON_RATIO] += loss.ratio;
        sums[ON_KL] += loss.log_shift;
        sums[ON_ADVANTAGE] += token.advantage;
        if (has_entropy) {
            sums[ON_ENTROPY] += entropy;
            sums[ON_ENTROPY_TOKENS] += 1.0;
        }
    }
    if (settings.kl != KL_NONE) {
        sums[REF_KL] += loss.kl;
        sums[REF_KL_TOKENS] += 1.0;
        sums[LOSS_KL] += weight * settings.kl_coef * loss.kl;
    }
    if (settings.entropy_coef != 0.0) sums[LOSS_ENTROPY] -= weight * settings.entropy_coef * entropy;
    sums[LOSS_POLICY] += weight * loss.policy;
    sums[LOSS_SFT] += weight * settings.sft_coef * loss.sft;
}

// What is wrong with a valid token, in the order in which the CPU looks. A log-prob that comes from
// logits is not finite because its row is not: the row says what it is.
DEVICE u32 token_status(const PolicyLossArguments& a, u32 i, const Token& token, double entropy) {
    const u32 input = input_status(token, a.settings);
    const u32 logp = is_finite(token.logp) ? SOUND : BAD_LOGP;
    u32 status = a.row_status ? row_and_input_status(a.row_status[i], input) : logp ? logp : input;
    if (status == SOUND) status = logp;
    if (status == SOUND && !is_finite(entropy)) status = BAD_ENTROPY;
    return status;
}

// Shared memory: LOSS_WARPS * SUMS * 8 = 1664 bytes.
KERNEL(icpo_policy_loss, PolicyLossArguments, 256, 2) {
    const PolicyLossArguments& a = arguments;
    double sums[SUMS];
    UNROLL for (u32 k = 0; k < SUMS; k++) sums[k] = 0.0;
    const u64 first = (u64)blockIdx.x * TOKENS_A_BLOCK + threadIdx.x;
    for (u32 offset = 0; offset < TOKENS_A_BLOCK && first + offset < a.tokens;
         offset += LOSS_THREADS) {
        const u32 i = (u32)(first + offset);
        const double weight = a.weights[i];
        double d_logp = 0.0, d_entropy = 0.0;
        u32 status = SOUND;
        if (weight != 0.0) {
            const Token token = load_token(a.inputs, i, a.logp[i]);
            const double entropy = a.entropy.present() ? a.entropy[i] : 0.0;
            const TokenLoss loss = token_loss(token, a.settings);
            add_token(sums, token, loss, weight, a.entropy.present(), entropy, a.settings);
            d_logp = weight * loss.d_logp;
            d_entropy = -weight * a.settings.entropy_coef;
            if (a.status) status = token_status(a, i, token, entropy);
        }
        if (a.d_logp.at) a.d_logp.put(i, d_logp);
        if (a.d_entropy.at) a.d_entropy.put(i, d_entropy);
        if (a.status) a.status[i] = (u8)status;
    }
    double* const of_warps = (double*)shared_memory();  // (LOSS_WARPS, SUMS)
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    UNROLL for (u32 k = 0; k < SUMS; k++) {
        const double sum = sum_of_lanes(sums[k]);
        if (lane == 0) of_warps[warp * SUMS + k] = sum;
    }
    sync_block();
    if (threadIdx.x < SUMS) {
        double sum = 0.0;
        for (u32 w = 0; w < LOSS_WARPS; w++) sum += of_warps[w * SUMS + threadIdx.x];
        a.partials[(u64)blockIdx.x * SUMS + threadIdx.x] = sum;
    }
}

struct AddSumsArguments {
    const double* partials;    // (blocks, SUMS)
    const double* row_counts;  // ON_ROWS and OFF_ROWS; or null: both 0
    double* sums;              // (SUMS,)
    RealsOut loss;             // or absent
    u32 blocks;
    u32 accumulate;  // whether to add to what `sums` holds; `loss` is that of the total
};
static_assert(sizeof(AddSumsArguments) == 48, "the twin in src/cuda/arguments.rs");

// A warp for each sum. Shared memory: SUMS * 8 = 208 bytes.
KERNEL(icpo_add_sums, AddSumsArguments, 832, 1) {
    const AddSumsArguments& a = arguments;
    double* const totals = (double*)shared_memory();  // (SUMS,)
    const u32 k = threadIdx.x / 32, lane = threadIdx.x % 32;
    double sum = 0.0;
    for (u64 block = lane; block < a.blocks; block += 32) sum += a.partials[block * SUMS + k];
    sum = sum_of_lanes(sum);
    if (lane == 0) {
        if (a.row_counts && k == ON_ROWS) sum += a.row_counts[0];
        if (a.row_counts && k == OFF_ROWS) sum += a.row_counts[1];
        if (a.accumulate) sum += a.sums[k];
        a.sums[k] = totals[k] = sum;
    }
    sync_block();
    if (threadIdx.x == 0 && a.loss.at) {
        const double loss =
            totals[LOSS_POLICY] + totals[LOSS_KL] + totals[LOSS_ENTROPY] + totals[LOSS_SFT];
        a.loss.put(0, loss);
    }
}
static_assert(SUMS * 32 == 832, "a warp for each sum");
