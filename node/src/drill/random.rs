/// What the state grows by: SplitMix64 is a mixed counter, so its nth number is known without those before it.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Numbers that look random and are the same in every run (SplitMix64).
#[derive(Debug, Clone, Copy)]
pub struct Random(u64);

impl Random {
    /// A generator of its own for each path of `labels`.
    pub fn derived(seed: u64, labels: &[u64]) -> Self {
        Self(labels.iter().fold(mix(seed), |state, label| mix(state ^ mix(*label))))
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound
    }

    /// One of these, if there is any.
    pub fn pick<'a, T>(&mut self, among: &'a [T]) -> Option<&'a T> {
        let index = self.below(among.len().max(1) as u64);
        among.get(usize::try_from(index).unwrap_or(usize::MAX))
    }

    /// So many bytes from `offset` on, a multiple of 8, of what this generator would give.
    pub fn bytes(self, offset: u64, length: usize) -> Vec<u8> {
        let mut words = Self(self.0.wrapping_add((offset / 8).wrapping_mul(STEP)));
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend(words.draw().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

fn mix(state: u64) -> u64 {
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_the_same_from_wherever_they_are_made() {
        let numbers = Random::derived(7, &[1, 2]);
        let whole = numbers.bytes(0, 61);
        assert_eq!(numbers.bytes(24, 37), whole[24..]);
        assert_ne!(Random::derived(7, &[2, 1]).bytes(0, 61), whole);
    }

    #[test]
    fn one_of_none_is_none() {
        assert_eq!(Random::derived(1, &[]).pick::<u8>(&[]), None);
        assert_eq!(Random::derived(1, &[]).pick(&[5]), Some(&5));
    }
}
