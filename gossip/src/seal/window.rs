const WORDS: usize = 16;
/// Counters behind the newest that are still told apart; what comes later than that was too long on its way.
const WIDTH: u64 = 64 * WORDS as u64;

/// Which counters of a session were seen: the newest, and which of those before it.
#[derive(Default)]
pub(super) struct Window {
    newest: u64,
    /// By counter, round and round.
    seen: [u64; WORDS],
}

impl Window {
    /// Counters begin with 1.
    pub fn is_new(&self, counter: u64) -> bool {
        let (word, bit) = place(counter);
        counter > self.newest || (self.newest.saturating_sub(counter) < WIDTH && counter > 0 && self.seen[word] & bit == 0)
    }

    pub fn note(&mut self, counter: u64) {
        if counter > self.newest {
            for passed in (self.newest + 1..=counter).rev().take(64 * WORDS) {
                let (word, bit) = place(passed);
                self.seen[word] &= !bit;
            }
            self.newest = counter;
        }
        let (word, bit) = place(counter);
        self.seen[word] |= bit;
    }
}

fn place(counter: u64) -> (usize, u64) {
    let place = counter % WIDTH;
    // Below 1,024.
    (usize::try_from(place / 64).unwrap_or_default(), 1 << (place % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a set of all that was ever seen.
        #[test]
        fn each_counter_is_new_once(steps in prop::collection::vec((0u64..3000, any::<bool>()), 1..400)) {
            let (mut window, mut seen, mut newest) = (Window::default(), BTreeSet::new(), 0u64);
            for (step, ahead) in steps {
                let counter = if ahead { newest + step } else { newest.saturating_sub(step) };
                let new = counter > 0 && counter + WIDTH > newest && !seen.contains(&counter);
                prop_assert_eq!(window.is_new(counter), new, "{} after {}", counter, newest);
                if new {
                    window.note(counter);
                    seen.insert(counter);
                    newest = newest.max(counter);
                }
            }
        }
    }

    #[test]
    fn the_last_counter_is_no_special_one() {
        let mut window = Window::default();
        window.note(u64::MAX);
        assert!(!window.is_new(u64::MAX) && !window.is_new(0) && window.is_new(u64::MAX - 1));
    }
}
