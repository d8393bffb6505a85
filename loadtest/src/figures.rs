/// The value that a share of all are at or below (nearest rank); of nothing, 0.
pub fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    // A rank is small and not negative.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let rank = (share * values.len() as f64).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

/// The one in the middle, or the mean of the two that are.
pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    let (lower, upper) = (quantile(&mut values, 0.5), values.get(values.len() / 2).copied().unwrap_or(0.0));
    if values.len().is_multiple_of(2) { f64::midpoint(lower, upper) } else { lower }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let mut values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!((quantile(&mut values, 0.99), quantile(&mut values, 0.5)), (198.0, 100.0));
        assert_eq!((quantile(&mut values, 1.0), quantile(&mut values, 0.0)), (200.0, 1.0));
        assert_eq!((quantile(&mut [7.0], 0.99), quantile(&mut [], 0.99)), (7.0, 0.0));
    }

    #[test]
    fn a_median_of_ten_lies_between_the_fifth_and_the_sixth() {
        let ten: Vec<f64> = (1..=10).map(f64::from).collect();
        assert_eq!((median(&ten), median(&ten[..9]), median(&[])), (5.5, 5.0, 0.0));
    }
}
