use crate::figures::median;

/// Of all windows, those in which caches fill and connections open.
const WARM_UP: f64 = 0.25;
/// Fewer windows behind the warm-up say nothing.
const LEAST: usize = 6;

/// How much more something may be at the end than at the beginning.
#[derive(Debug, Clone, Copy)]
pub struct Margin {
    pub what: &'static str,
    pub unit: &'static str,
    /// Such as 1.25 for a quarter.
    pub times: f64,
    /// And in any case so much more, where there is little.
    pub least: f64,
    /// Up to this it may grow as it likes.
    pub free: f64,
}

impl Margin {
    /// What is wrong with the values of all windows, if something is: behind the warm-up, the median of the last third is compared with that of
    /// the first, so that neither a spike nor a lucky window decides.
    pub fn objection(&self, values: &[f64]) -> Option<String> {
        let values = &values[share(values.len(), WARM_UP)..];
        if values.len() < LEAST {
            return None;
        }
        let third = values.len() / 3;
        let (first, last) = (median(&values[..third]), median(&values[values.len() - third..]));
        let limit = (first * self.times).max(first + self.least).max(self.free);
        let Self { what, unit, .. } = self;
        (last > limit).then(|| format!("{what} crept from {first:.1} to {last:.1} {unit}, over {limit:.1}"))
    }
}

fn share(count: usize, share: f64) -> usize {
    // Of a small count, and not negative.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let share = (count as f64 * share) as usize;
    share
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARGIN: Margin = Margin { what: "memory", unit: "MiB", times: 1.25, least: 10.0, free: 0.0 };

    fn objection(values: impl Iterator<Item = f64>) -> Option<String> {
        MARGIN.objection(&values.collect::<Vec<_>>())
    }

    #[test]
    fn what_grows_is_found_and_what_only_trembles_is_not() {
        let tremble = |at: u32| f64::from(at * 7919 % 11);
        assert_eq!(objection((0..30).map(|at| 200.0 + tremble(at))), None);
        let grown = objection((0..30).map(|at| 100.0 + 4.0 * f64::from(at) + tremble(at))).unwrap();
        assert!(grown.starts_with("memory crept from 1"), "{grown}");
        assert_eq!(objection((0..30).map(|at| if at == 27 { 5000.0 } else { 200.0 })), None, "a spike");
        assert_eq!(objection((0..30).map(|at| if at < 7 { 10.0 } else { 200.0 })), None, "the warm-up");
        assert_eq!(objection((0..30).map(|at| 1.0 + f64::from(at) / 4.0)), None, "little is left alone");
        let filling: Vec<f64> = (0..30).map(|at| 100.0 + 4.0 * f64::from(at)).collect();
        assert_eq!(Margin { free: 250.0, ..MARGIN }.objection(&filling), None, "it may have so much");
        assert_eq!(objection((0..6).map(|at| 1000.0 * f64::from(at))), None, "too short to say");
    }
}
