use super::*;

const NOW: u64 = 1 << 40;

fn keys(names: &[&str]) -> Arc<ClusterKeys> {
    let line = |name: &&str| name.repeat(64) + "\n";
    Arc::new(names.iter().map(line).collect::<String>().parse().unwrap())
}

fn pair() -> (Sealer, Opener) {
    (Sealer::new(&keys(&["1"])), Opener::new(keys(&["1"])))
}

#[test]
fn what_is_sealed_is_opened_once() {
    let (mut sealer, mut opener) = pair();
    for message in [&b""[..], b"x", &[7; MOST]] {
        let [datagram] = &sealer.seal(message, NOW)[..] else { panic!("one is enough") };
        assert!(
            datagram.len() <= DATAGRAM && (message.len() < 16 || !datagram.windows(message.len()).any(|part| part == message))
        );
        assert_eq!(opener.open(datagram, NOW), Ok(Some(message.to_vec())));
        assert_eq!(opener.open(datagram, NOW), Err(Refused::Replayed));
    }
}

/// Gossip fills what UDP carries.
#[test]
fn a_full_message_goes_in_two_halves() {
    let (mut sealer, mut opener) = pair();
    let message: Vec<u8> = (0..DATAGRAM).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let halves = sealer.seal(&message, NOW);
    assert!(halves.len() == 2 && halves.iter().all(|half| half.len() <= DATAGRAM));
    assert_eq!(opener.open(&halves[0], NOW), Ok(None));
    assert_eq!(opener.open(&halves[1], NOW), Ok(Some(message.clone())));
    let (lost, again) = (sealer.seal(&message, NOW), sealer.seal(&message, NOW));
    assert_eq!(opener.open(&lost[0], NOW), Ok(None));
    assert_eq!(opener.open(&again[1], NOW), Ok(None), "halves of two messages are none");
    assert_eq!(opener.open(&sealer.seal(b"x", NOW)[0], NOW), Ok(Some(b"x".to_vec())));
}

/// What a member sends and never ends takes no more memory than that.
#[test]
fn halves_have_a_bound_and_the_newest_are_kept() {
    let (mut sealer, mut opener) = pair();
    let message = vec![7; MOST + 1];
    let sealed: Vec<_> = (0..=HALVES).map(|_| sealer.seal(&message, NOW)).collect();
    assert!(sealed.iter().all(|halves| opener.open(&halves[0], NOW) == Ok(None)));
    assert_eq!(opener.halves.len(), HALVES);
    assert_eq!(opener.open(&sealed[0][1], NOW), Ok(None), "the oldest one went");
    assert!(sealed[1..].iter().all(|halves| opener.open(&halves[1], NOW) == Ok(Some(message.clone()))));
    assert!(opener.halves.is_empty());
}

#[test]
fn keys_are_replaced_without_a_word_lost() {
    let (old, both, swapped, new) = (keys(&["1"]), keys(&["1", "2"]), keys(&["2", "1"]), keys(&["2"]));
    let mut opener = Opener::new(old.clone());
    let says = |keys: &Arc<ClusterKeys>, opener: &mut Opener| opener.open(&Sealer::new(keys).seal(b"x", NOW)[0], NOW).map(drop);
    assert_eq!(says(&old, &mut opener), Ok(()));
    assert_eq!(says(&new, &mut opener), Err(Refused::Key));
    for (mine, theirs) in [(&both, [&old, &both]), (&swapped, [&both, &swapped]), (&new, [&swapped, &new])] {
        opener.set_keys(mine.clone());
        assert!(theirs.iter().all(|theirs| says(theirs, &mut opener) == Ok(())));
    }
    assert_eq!(says(&old, &mut opener), Err(Refused::Key));
    assert!(opener.sessions.keys().all(|(key, _)| new.find(*key).is_some()), "nothing is left of the old one");
}

#[test]
fn what_is_of_another_time_is_refused() {
    let (mut sealer, mut opener) = pair();
    for (sent, wanted) in [
        (NOW - AGE_MS - 1, Err(Refused::Stale)),
        (NOW - AGE_MS, Ok(Some(vec![1]))),
        (NOW + AGE_MS, Ok(Some(vec![1]))),
        (NOW + AGE_MS + 1, Err(Refused::Stale)),
    ] {
        assert_eq!(opener.open(&sealer.seal(&[1], sent)[0], NOW), wanted);
    }
}

#[test]
fn runs_of_nodes_have_a_bound_and_those_that_ended_make_room() {
    let mut opener = Opener::new(keys(&["1"]));
    let hear = |opener: &mut Opener, at| opener.open(&Sealer::new(&keys(&["1"])).seal(b"x", at)[0], at).map(drop);
    assert!((0..SESSIONS).all(|_| hear(&mut opener, NOW) == Ok(())));
    assert_eq!(hear(&mut opener, NOW), Err(Refused::Crowded));
    assert_eq!(hear(&mut opener, NOW + 3 * AGE_MS), Ok(()));
    assert_eq!(opener.sessions.len(), 1);
}

/// A million datagrams: noise, cut short, flipped, replayed, of another cluster. None is heard, nothing is remembered of them, and members still are.
#[test]
fn a_million_forgeries_are_refused() {
    let (mut sealer, mut opener) = pair();
    let mut rogue = Sealer::new(&keys(&["2"]));
    let real = sealer.seal(b"a member's word", NOW).remove(0);
    assert!(opener.open(&real, NOW).is_ok());
    let mut random = fastrand::Rng::with_seed(7);
    for n in 0..1_000_000 {
        let forged = match n % 5 {
            0 => {
                let length = random.usize(..80);
                std::iter::repeat_with(|| random.u8(..)).take(length).collect()
            }
            1 => real[..random.usize(..real.len())].to_vec(),
            2 => {
                let mut forged = if n % 2 == 0 { sealer.seal(b"x", NOW).remove(0) } else { real.clone() };
                let at = random.usize(..forged.len());
                forged[at] ^= 1 << random.u8(..8);
                forged
            }
            3 => real.clone(),
            _ => rogue.seal(b"x", NOW).remove(0),
        };
        assert!(opener.open(&forged, NOW).is_err(), "{n}: {forged:?}");
    }
    assert_eq!(opener.sessions.len(), 1);
    assert_eq!(opener.open(&sealer.seal(b"x", NOW)[0], NOW), Ok(Some(b"x".to_vec())));
}

/// Datagrams of anyone, and right ones that were changed on the way: nothing is heard that was not said, and nobody is remembered who said nothing right.
#[test]
fn fuzz_datagrams() {
    let (mut sealer, _) = pair();
    let said: Vec<_> = [&b""[..], b"a message", &[7; 2000]].map(|message| sealer.seal(message, NOW).remove(0)).into();
    bolero::check!().with_type::<(u8, Vec<(u16, u8)>, i8, Vec<u8>)>().with_iterations(4000).for_each(
        |(which, edits, longer, any)| {
            let mut opener = Opener::new(keys(&["1"]));
            let right = &said[usize::from(*which) % said.len()];
            let mut changed = right.clone();
            let length = changed.len().saturating_add_signed(isize::from(*longer));
            changed.resize(length, 0);
            for (at, bits) in edits.iter().take(4).filter(|_| length > 0) {
                changed[usize::from(*at) % length] ^= bits;
            }
            for datagram in [any, &changed] {
                let heard = opener.open(datagram, NOW);
                assert_eq!((heard.is_ok(), opener.sessions.len()), (datagram == right, usize::from(datagram == right)));
            }
            assert!(opener.halves.is_empty());
        },
    );
}

#[test]
fn fuzz_keys() {
    const PARTS: [&str; 8] = ["0123456789abcdef", "ABCDEF", "g", "#", "\n", "\r", " ", "\u{e9}"];
    bolero::check!().with_type::<Vec<u8>>().with_iterations(2000).for_each(|picks| {
        let text: String = picks.iter().map(|pick| PARTS[usize::from(*pick) % PARTS.len()]).collect();
        if let Ok(keys) = text.parse::<ClusterKeys>() {
            assert!(text.len() >= 64 && keys.find(key_id(keys.first())).is_some());
            assert!(!format!("{keys:?}").contains("abcdef"), "a key is never shown");
        }
    });
}
