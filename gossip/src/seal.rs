//! Datagrams that only members can make and read: AES-256-GCM under a key that each run of a node derives for itself from the cluster's key.
//! What is not from a member, or was heard before, or is too old, is refused before anything of it is looked at.
//!
//! ```text
//! version 1 | part 1 | key id 4 | session 16 | counter 8 | sealed: milliseconds since 1970 8, message | tag 16
//! ```

mod window;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce};

use self::window::Window;
use crate::key::{ClusterKeys, KeyId, Session, derive, fill, key_id};

const VERSION: u8 = 1;
const HEADER: usize = 30;
const TIME: usize = 8;
const TAG: usize = 16;
/// The most that UDP carries over IPv4, bytes.
const DATAGRAM: usize = 65_507;
/// A longer message goes in two halves: gossip fills datagrams to the last byte.
const MOST: usize = DATAGRAM - HEADER - TIME - TAG;
/// How old a datagram may be, and how far two nodes' clocks apart.
const AGE_MS: u64 = 60_000;
/// Runs of nodes that are told apart. Only members make any.
const SESSIONS: usize = 16_384;
/// First halves that wait for their second, which is sent right behind them: at most 4 MB.
const HALVES: usize = 64;

/// Which part of a message a datagram is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Whole,
    First,
    Second,
}

impl Part {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Whole, Self::First, Self::Second].into_iter().find(|part| *part as u8 == byte)
    }
}

/// Why a datagram is none of a member's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("it is not sealed as gossip is: a node there has no cluster.key, or it is no node's")]
    Unsealed,
    #[error("a node there has another cluster.key than this one: give all nodes the same, with --cluster-key")]
    Key,
    #[error("it was changed on the way, or made by somebody who has no key")]
    Forged,
    #[error("it was heard before")]
    Replayed,
    #[error("it is of another time: the nodes' clocks must not be more than {} s apart", AGE_MS / 1000)]
    Stale,
    #[error("it is of one run of a node too many")]
    Crowded,
}

impl Refused {
    /// For a metric's label.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Unsealed => "unsealed",
            Self::Key => "key",
            Self::Forged => "forged",
            Self::Replayed => "replayed",
            Self::Stale => "stale",
            Self::Crowded => "crowded",
        }
    }
}

/// Seals what this run of a node says.
pub(crate) struct Sealer {
    key: LessSafeKey,
    key_id: KeyId,
    session: Session,
    counter: u64,
}

impl Sealer {
    pub fn new(keys: &ClusterKeys) -> Self {
        let mut session = Session::default();
        fill(&mut session);
        Self { key: derive(keys.first(), &session), key_id: key_id(keys.first()), session, counter: 0 }
    }

    /// One datagram, or two.
    pub fn seal(&mut self, message: &[u8], now_ms: u64) -> Vec<Vec<u8>> {
        if message.len() <= MOST {
            return vec![self.seal_part(Part::Whole, message, now_ms)];
        }
        let (first, second) = message.split_at(message.len() / 2);
        vec![self.seal_part(Part::First, first, now_ms), self.seal_part(Part::Second, second, now_ms)]
    }

    fn seal_part(&mut self, part: Part, bytes: &[u8], now_ms: u64) -> Vec<u8> {
        self.counter += 1;
        let header = [&[VERSION, part as u8][..], &self.key_id, &self.session, &self.counter.to_be_bytes()].concat();
        let mut sealed = [&now_ms.to_be_bytes()[..], bytes].concat();
        let key = self.key.seal_in_place_append_tag(nonce(self.counter), Aad::from(&header), &mut sealed);
        key.expect("a datagram is far below what AES-GCM can seal");
        [header, sealed].concat()
    }
}

/// No counter comes twice with one key: it has 64 bits, and each session a key of its own.
fn nonce(counter: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

/// Opens what members say.
pub(crate) struct Opener {
    keys: Arc<ClusterKeys>,
    sessions: HashMap<(KeyId, Session), Heard>,
    halves: VecDeque<Half>,
}

/// The first half of a message.
struct Half {
    session: (KeyId, Session),
    counter: u64,
    bytes: Vec<u8>,
}

/// A run of a node that was heard.
struct Heard {
    key: LessSafeKey,
    window: Window,
    last_ms: u64,
}

struct Header<'a> {
    part: Part,
    session: (KeyId, Session),
    counter: u64,
    bytes: &'a [u8],
}

impl<'a> Header<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (bytes, _) = bytes.split_at_checked(HEADER)?;
        let part = Part::from_byte(bytes[1]).filter(|_| bytes[0] == VERSION)?;
        let session = (bytes[2..6].try_into().ok()?, bytes[6..22].try_into().ok()?);
        Some(Self { part, session, counter: u64::from_be_bytes(bytes[22..].try_into().ok()?), bytes })
    }
}

impl Opener {
    pub fn new(keys: Arc<ClusterKeys>) -> Self {
        Self { keys, sessions: HashMap::new(), halves: VecDeque::new() }
    }

    /// From now on with these. What is sealed with others is refused.
    pub fn set_keys(&mut self, keys: Arc<ClusterKeys>) {
        self.sessions.retain(|(key, _), _| keys.find(*key).is_some());
        self.keys = keys;
    }

    /// A member's message; `None` while its second half is not here.
    pub fn open(&mut self, datagram: &[u8], now_ms: u64) -> Result<Option<Vec<u8>>, Refused> {
        let header = Header::read(datagram).ok_or(Refused::Unsealed)?;
        let part = match self.sessions.get_mut(&header.session) {
            Some(heard) => heard.take(&header, datagram, now_ms)?,
            None => self.take_first(&header, datagram, now_ms)?,
        };
        Ok(self.join(&header, part))
    }

    /// Nobody is remembered who could not say one right word.
    fn take_first(&mut self, header: &Header<'_>, datagram: &[u8], now_ms: u64) -> Result<Vec<u8>, Refused> {
        let key = self.keys.find(header.session.0).ok_or(Refused::Key)?;
        let mut heard = Heard { key: derive(key, &header.session.1), window: Window::default(), last_ms: now_ms };
        let part = heard.take(header, datagram, now_ms)?;
        self.make_room(now_ms)?;
        self.sessions.insert(header.session, heard);
        Ok(part)
    }

    fn join(&mut self, &Header { part, session, counter, .. }: &Header<'_>, bytes: Vec<u8>) -> Option<Vec<u8>> {
        match part {
            Part::Whole => Some(bytes),
            Part::First => {
                self.halves.truncate(HALVES - 1);
                self.halves.push_front(Half { session, counter, bytes });
                None
            }
            Part::Second => {
                let is_first = |half: &Half| half.session == session && half.counter.checked_add(1) == Some(counter);
                let first = self.halves.iter().position(is_first).and_then(|at| self.halves.remove(at))?;
                Some([first.bytes, bytes].concat())
            }
        }
    }

    /// Who was silent for so long that nothing of it can be replayed is forgotten.
    fn make_room(&mut self, now_ms: u64) -> Result<(), Refused> {
        if self.sessions.len() >= SESSIONS {
            self.sessions.retain(|_, heard| now_ms.saturating_sub(heard.last_ms) <= 2 * AGE_MS);
        }
        if self.sessions.len() < SESSIONS { Ok(()) } else { Err(Refused::Crowded) }
    }
}

impl Heard {
    fn take(&mut self, header: &Header<'_>, datagram: &[u8], now_ms: u64) -> Result<Vec<u8>, Refused> {
        if !self.window.is_new(header.counter) {
            return Err(Refused::Replayed);
        }
        let mut sealed = datagram[HEADER..].to_vec();
        let opened = self.key.open_in_place(nonce(header.counter), Aad::from(header.bytes), &mut sealed);
        let length = opened.map_err(|_| Refused::Forged)?.len();
        sealed.truncate(length);
        let time = sealed.first_chunk().copied().map(u64::from_be_bytes).ok_or(Refused::Forged)?;
        if now_ms.abs_diff(time) > AGE_MS {
            return Err(Refused::Stale);
        }
        self.window.note(header.counter);
        self.last_ms = now_ms;
        sealed.drain(..TIME);
        Ok(sealed)
    }
}

#[cfg(test)]
mod tests;
