//! The few statistics that a report needs.

/// The value that a share of the others lies below, between the two nearest where none is exact.
///
/// # Panics
///
/// When there are no values.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (
        sorted[place.floor() as usize],
        sorted[place.ceil() as usize],
    );
    below + (above - below) * place.fract()
}

/// The middle value.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// What each round gives on its own: `of` divided by `by`.
pub fn ratios(of: &[f64], by: &[f64]) -> Vec<f64> {
    of.iter().zip(by).map(|(of, by)| of / by).collect()
}

/// The median of the rounds' ratios.
pub fn ratio(of: &[f64], by: &[f64]) -> f64 {
    median(&ratios(of, by))
}

/// How far the medians of the first and the second half are apart, as a share of the smaller.
pub fn drift(values: &[f64]) -> f64 {
    let (first, second) = values.split_at(values.len() / 2);
    let (first, second) = (median(first), median(second));
    (first - second).abs() / first.min(second)
}

/// How far they may be apart by chance, as a share of the smaller: three standard errors of the
/// difference of two medians, with the spread taken from the quartiles.
pub fn chance(values: &[f64]) -> f64 {
    let (first, second) = values.split_at(values.len() / 2);
    let variance = |half: &[f64]| {
        let spread = (quantile(half, 0.75) - quantile(half, 0.25)) / 1.349;
        (1.2533 * spread).powi(2) / half.len() as f64
    };
    let error = (variance(first) + variance(second)).sqrt();
    3.0 * error / median(first).min(median(second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_their_neighbours() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(quantile(&[0.0, 10.0], 0.95), 9.5);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // A machine that gets ten times slower changes no ratio.
        assert_eq!(ratio(&[2.0, 20.0, 200.0], &[1.0, 10.0, 100.0]), 2.0);
    }

    #[test]
    fn a_machine_that_changes_is_seen() {
        assert!(drift(&[1.0, 1.0, 1.2, 1.2]) > 0.19);
        assert_eq!(drift(&[1.0, 2.0, 1.0, 2.0]), 0.0);
    }

    #[test]
    fn chance_is_small_where_values_are_many_or_alike() {
        let noisy = |count: usize| {
            (0..count)
                .map(|n| 10.0 + (n * 7 % 10) as f64)
                .collect::<Vec<_>>()
        };
        assert!(chance(&noisy(10)) > 0.3);
        assert!(chance(&noisy(1000)) < 0.1);
        assert_eq!(chance(&[1.0; 8]), 0.0);
    }
}
