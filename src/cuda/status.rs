//! What kernels say is wrong with a row or a token: a byte each, which kernels/arguments.cuh names.

/// Argument and expectation for each status; the first is that of rows without a fault.
///
/// Status 2 stands for two faults, which only a look at the row can tell apart: a logit that is no
/// number, and logits that are all -inf.
pub const STATUSES: [(&str, &str); 11] = [
    ("", ""),
    ("ids", "a token id in the vocabulary"),
    ("logits", "a number or -inf"),
    ("logits", "a finite logit for the token that ids selects there"),
    ("logp", FINITE),
    ("old_logp", FINITE),
    ("advantage", FINITE),
    ("behavior_logp", FINITE),
    ("ref_logp", FINITE),
    ("entropy", FINITE),
    ("temperature", "a number from 1e-6 to 1e6"),
];

const FINITE: &str = "a finite number at a token that the mask lets in";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_of_the_kernels_has_words() {
        let text = include_str!("../../kernels/arguments.cuh");
        let listed = text.split("enum Status {").nth(1).and_then(|rest| rest.split('}').next());
        let names = listed.unwrap_or_default().lines().filter_map(|line| line.split_once(" = "));
        let names: Vec<(&str, usize)> = names
            .filter_map(|(name, rest)| {
                Some((name.trim(), rest.split(',').next()?.trim().parse().ok()?))
            })
            .collect();
        assert_eq!(names.len(), STATUSES.len());
        for (place, (name, code)) in names.into_iter().enumerate() {
            assert_eq!(place, code, "{name}");
            let argument = STATUSES[code].0.to_uppercase();
            if let Some(rest) = name.strip_prefix("BAD_").filter(|&rest| rest != "ID") {
                assert_eq!(rest, argument, "{name}");
            }
        }
    }
}
