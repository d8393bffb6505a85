/// What the state grows by: SplitMix64 is a mixed counter, so its nth number is known without those before it.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
/// Bytes of one number.
const WORD: u64 = 8;

/// Numbers that look random and are the same in every run (SplitMix64).
#[derive(Debug, Clone, Copy)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator of its own for each path of `labels`. Mixed, since neighbouring seeds would give shifted sequences.
    pub fn derived(seed: u64, labels: &[u64]) -> Self {
        Self(labels.iter().fold(mix(seed), |state, label| mix(state ^ mix(*label))))
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        // Below a usize.
        #[expect(clippy::cast_possible_truncation)]
        let drawn = (self.draw() % bound as u64) as usize;
        drawn
    }

    /// All numbers below `count` in random order (Fisher–Yates).
    pub fn shuffled(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        (1..count).rev().for_each(|last| order.swap(last, self.below(last + 1)));
        order
    }
}

fn mix(state: u64) -> u64 {
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Random bytes without end, known at every offset: what was read can be compared without being kept.
#[derive(Debug, Clone, Copy)]
pub struct Content(SplitMix64);

impl Content {
    pub fn derived(seed: u64, labels: &[u64]) -> Self {
        Self(SplitMix64::derived(seed, labels))
    }

    /// The bytes from `offset` on, a multiple of 8.
    pub fn fill(&self, offset: u64, buffer: &mut [u8]) {
        buffer.chunks_mut(8).zip(self.words(offset)).for_each(|(bytes, word)| bytes.copy_from_slice(&word[..bytes.len()]));
    }

    /// Whether these are the bytes from `offset` on, a multiple of 8.
    pub fn matches(&self, offset: u64, bytes: &[u8]) -> bool {
        bytes.chunks(8).zip(self.words(offset)).all(|(bytes, word)| *bytes == word[..bytes.len()])
    }

    fn words(&self, offset: u64) -> impl Iterator<Item = [u8; 8]> + use<> {
        debug_assert_eq!(offset % WORD, 0);
        let mut numbers = SplitMix64(self.0.0.wrapping_add((offset / WORD).wrapping_mul(STEP)));
        std::iter::repeat_with(move || numbers.draw().to_le_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_published_algorithm() {
        let mut numbers = SplitMix64::new(1_234_567);
        assert_eq!([numbers.draw(), numbers.draw()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn content_is_the_same_from_wherever_it_is_read() {
        let content = Content::derived(7, &[1, 2]);
        let mut whole = [0; 61];
        content.fill(0, &mut whole);
        assert!(content.matches(0, &whole) && content.matches(24, &whole[24..]));
        assert!(!content.matches(8, &whole) && !Content::derived(7, &[2, 1]).matches(0, &whole));
        whole[60] ^= 1;
        assert!(!content.matches(0, &whole));
    }

    #[test]
    fn an_order_has_every_number_once() {
        let mut order = SplitMix64::new(3).shuffled(100);
        assert_ne!(order, (0..100).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
    }
}
