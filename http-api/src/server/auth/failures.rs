use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What counts together.
const WINDOW: Duration = Duration::from_secs(60);
/// Failures within it that are answered as what they are, and logged.
const MOST: u32 = 10;
/// Addresses, and tokens, that are told apart: 300 KB each. Those that find no room count as one.
const ADDRESSES: usize = 4096;

/// Between two looks for windows that are over, where there is no room: each takes some 20 us.
const SWEEP: Duration = Duration::from_secs(1);

/// How often each address failed lately, and each token that is known: who shares an address with others hides nothing of theirs.
#[derive(Default)]
pub(super) struct Failures {
    addresses: Mutex<Windows<IpAddr>>,
    tokens: Mutex<Windows<String>>,
}

struct Windows<K> {
    of: HashMap<K, Window>,
    /// Of those that found no room.
    rest: Option<Window>,
    swept: Option<Instant>,
}

impl<K> Default for Windows<K> {
    fn default() -> Self {
        Self { of: HashMap::new(), rest: None, swept: None }
    }
}

#[derive(Clone, Copy)]
struct Window {
    since: Instant,
    all: u32,
    guesses: u32,
}

/// What follows from one more failure.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Whether it is logged.
    pub tell: bool,
    /// How long nothing but what is right is heard.
    pub wait: Option<Duration>,
}

impl Failures {
    /// `guess`: a token was shown that opens nothing. Who shows none learns nothing by it, however often.
    pub(super) fn note(&self, from: IpAddr, guess: bool, now: Instant) -> Verdict {
        lock(&self.addresses).slot(host(from), now).note(guess, now)
    }

    /// A token that is known, of this name, was shown for what it does not do.
    pub(super) fn note_token(&self, name: &str, now: Instant) -> Verdict {
        lock(&self.tokens).slot(name.to_owned(), now).note(false, now)
    }
}

fn lock<K>(windows: &Mutex<Windows<K>>) -> MutexGuard<'_, Windows<K>> {
    // Each change is whole.
    windows.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<K: Hash + Eq> Windows<K> {
    /// The window of this one, which begins now where it had none.
    fn slot(&mut self, key: K, now: Instant) -> &mut Window {
        let new = Window { since: now, all: 0, guesses: 0 };
        let window = if self.of.contains_key(&key) || self.has_room(now) {
            self.of.entry(key).or_insert(new)
        } else {
            self.rest.get_or_insert(new)
        };
        if !window.is_live(now) {
            *window = new;
        }
        window
    }

    fn has_room(&mut self, now: Instant) -> bool {
        if self.of.len() >= ADDRESSES && self.swept.is_none_or(|swept| now.duration_since(swept) >= SWEEP) {
            self.of.retain(|_, window| window.is_live(now));
            self.swept = Some(now);
        }
        self.of.len() < ADDRESSES
    }
}

impl Window {
    fn note(&mut self, guess: bool, now: Instant) -> Verdict {
        self.all += 1;
        self.guesses += u32::from(guess);
        let wait = (guess && self.guesses > MOST).then(|| WINDOW.saturating_sub(now.duration_since(self.since)));
        Verdict { tell: self.all <= MOST, wait }
    }

    fn is_live(&self, now: Instant) -> bool {
        now.duration_since(self.since) < WINDOW
    }
}

/// Whoever has one address of IPv6 has the 2^64 beside it.
fn host(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn ten_guesses_a_minute_are_heard() {
        let (failures, start) = (Failures::default(), Instant::now());
        let guess = |from: &str, after| failures.note(ip(from), true, start + Duration::from_secs(after));
        for _ in 0..10 {
            assert_eq!(guess("10.0.0.1", 0), Verdict { tell: true, wait: None });
        }
        assert_eq!(guess("10.0.0.1", 20), Verdict { tell: false, wait: Some(Duration::from_secs(40)) });
        assert_eq!(guess("::ffff:10.0.0.1", 20).wait, Some(Duration::from_secs(40)), "the same, written otherwise");
        assert_eq!(guess("10.0.0.2", 20).wait, None);
        assert_eq!(guess("10.0.0.1", 60), Verdict { tell: true, wait: None });
    }

    #[test]
    fn who_shows_nothing_is_not_put_off_but_fills_no_log() {
        let (failures, now) = (Failures::default(), Instant::now());
        let told = (0..1000).filter(|_| failures.note(ip("10.0.0.1"), false, now) == Verdict { tell: true, wait: None }).count();
        assert_eq!(told, 10);
        assert_eq!(failures.note(ip("10.0.0.1"), true, now).wait, None);
    }

    #[test]
    fn a_network_of_addresses_is_one_and_all_of_them_take_no_memory() {
        let (failures, now) = (Failures::default(), Instant::now());
        let waits = (0..20_u128).filter(|n| failures.note(Ipv6Addr::from_bits(0xfd << 120 | n).into(), true, now).wait.is_some());
        assert_eq!(waits.count(), 10);
        let count = || lock(&failures.addresses).of.len();
        for n in 0..100_000_u32 {
            failures.note(IpAddr::V4(n.into()), true, now);
        }
        assert!(count() <= ADDRESSES + 1, "{}", count());
        assert!(failures.note(ip("192.0.2.1"), true, now).wait.is_some(), "who finds no room shares one");
        assert_eq!(failures.note(ip("192.0.2.1"), true, now + WINDOW).wait, None, "until there is some again");
        assert_eq!(count(), 1);
    }
}
