use tokio::net::tcp::OwnedReadHalf;

use super::frame::{DATA, END_STREAM, HEADERS, RST_STREAM, WINDOW_UPDATE};
use super::*;

/// A client and a server with a relay between them, greeted.
struct Pair {
    relay: Relay,
    listener: TcpListener,
    client: End,
    server: End,
}

struct End {
    from: BufReader<OwnedReadHalf>,
    to: OwnedWriteHalf,
}

impl End {
    fn new(socket: TcpStream) -> Self {
        let (from, to) = socket.into_split();
        Self { from: BufReader::new(from), to }
    }

    async fn say(&mut self, frame: &Frame) {
        frame.write(&mut self.to).await.unwrap();
    }

    async fn hear(&mut self) -> Option<Frame> {
        Frame::read(&mut self.from).await.ok().flatten()
    }
}

impl Pair {
    async fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let relay = Relay::open(&Handle::current(), listener.local_addr().unwrap()).unwrap();
        let mut client = End::new(TcpStream::connect(relay.address).await.unwrap());
        client.to.write_all(PREFACE).await.unwrap();
        let mut server = End::new(listener.accept().await.unwrap().0);
        let mut preface = [0; PREFACE.len()];
        server.from.read_exact(&mut preface).await.unwrap();
        assert_eq!(preface, *PREFACE);
        Self { relay, listener, client, server }
    }

    /// What the client hears of an answer of 300,000 bytes, up to its end or the stream's.
    async fn answer(&mut self, stream: u32) -> Vec<Frame> {
        self.server.say(&frame(HEADERS, 0, stream, 5)).await;
        self.server.say(&frame(DATA, 0, stream, 200_000)).await;
        self.server.say(&frame(DATA, END_STREAM, stream, 100_000)).await;
        let mut heard = Vec::new();
        while let Some(frame) = self.client.hear().await {
            let over = frame.is(DATA, END_STREAM) || frame.kind == RST_STREAM;
            heard.push(frame);
            if over {
                break;
            }
        }
        heard
    }
}

fn frame(kind: u8, flags: u8, stream: u32, length: usize) -> Frame {
    Frame { kind, flags, stream, payload: vec![kind; length].into() }
}

#[tokio::test]
async fn a_good_relay_passes_on_what_is_said() {
    let mut pair = Pair::new().await;
    pair.client.say(&frame(HEADERS, END_STREAM, 1, 40)).await;
    assert_eq!(pair.server.hear().await, Some(frame(HEADERS, END_STREAM, 1, 40)));
    let lengths: Vec<usize> = pair.answer(1).await.iter().map(|frame| frame.payload.len()).collect();
    assert_eq!(lengths, [5, 200_000, 100_000]);
    drop(pair.server);
    assert_eq!(pair.client.hear().await, None, "the end is passed on too");
}

#[tokio::test]
async fn resets_reach_both_sides_and_leave_the_connection_well() {
    let mut pair = Pair::new().await;
    pair.relay.turn(Fault::Reset);
    for stream in [1, 3, 5, 7] {
        let heard = pair.answer(stream).await;
        assert_eq!(heard.last().unwrap().kind == RST_STREAM, stream % 4 == 1, "{heard:?}");
    }
    let (mut told, mut returned) = (Vec::new(), 0);
    while told.len() < 2 || returned < 500_000 {
        let frame = pair.server.hear().await.unwrap();
        match frame.kind {
            RST_STREAM => told.push(frame.stream),
            WINDOW_UPDATE => returned += u32::from_be_bytes(frame.payload[..].try_into().unwrap()),
            kind => panic!("{kind}"),
        }
    }
    assert_eq!((told, returned), (vec![1, 5], 500_000), "all of one body, and what was not passed on of the other");
}

#[tokio::test]
async fn a_stalled_stream_is_silent_while_others_go_on() {
    let mut pair = Pair::new().await;
    pair.relay.turn(Fault::Stall);
    pair.server.say(&frame(HEADERS, 0, 1, 5)).await;
    pair.server.say(&frame(DATA, END_STREAM, 1, 100)).await;
    pair.server.say(&frame(HEADERS, END_STREAM, 3, 6)).await;
    assert_eq!(pair.client.hear().await, Some(frame(HEADERS, 0, 1, 5)));
    assert_eq!(pair.client.hear().await, Some(frame(HEADERS, END_STREAM, 3, 6)));
}

#[tokio::test]
async fn a_black_hole_takes_everything_and_gives_nothing_until_it_is_healed() {
    let mut pair = Pair::new().await;
    pair.relay.turn(Fault::BlackHole);
    let mut late = TcpStream::connect(pair.relay.address).await.unwrap();
    late.write_all(PREFACE).await.unwrap();
    late.shutdown().await.unwrap();
    assert_eq!(late.read(&mut [0; 9]).await.unwrap(), 0, "also on a new connection");
    pair.client.say(&frame(HEADERS, END_STREAM, 1, 40)).await;
    pair.server.say(&frame(HEADERS, END_STREAM, 1, 40)).await;
    pair.relay.turn(Fault::None);
    assert_eq!(pair.client.hear().await, None);
    assert_eq!(pair.server.hear().await, None);
    // Whatever is heard now comes from a new connection: the late one never reached the server.
    let mut again = TcpStream::connect(pair.relay.address).await.unwrap();
    again.write_all(PREFACE).await.unwrap();
    again.write_all(&frame(HEADERS, 0, 9, 1).head()).await.unwrap();
    again.write_all(&[HEADERS]).await.unwrap();
    let mut server = End::new(pair.listener.accept().await.unwrap().0);
    server.from.read_exact(&mut [0; PREFACE.len()]).await.unwrap();
    assert_eq!(server.hear().await, Some(frame(HEADERS, 0, 9, 1)));
    server.say(&frame(HEADERS, END_STREAM, 9, 2)).await;
    assert_eq!(End::new(again).hear().await, Some(frame(HEADERS, END_STREAM, 9, 2)), "and it stays open");
}

#[tokio::test]
async fn a_slow_way_is_no_shorter_than_it_was_told_to_be() {
    let mut pair = Pair::new().await;
    for fault in [Fault::Slow(Duration::from_millis(30)), Fault::Trickle(10_000_000)] {
        pair.relay.turn(fault);
        let began = Instant::now();
        let heard = pair.answer(1).await;
        assert_eq!(heard.iter().map(|frame| frame.payload.len()).sum::<usize>(), 300_005);
        assert!(began.elapsed() >= Duration::from_millis(25), "{fault:?}");
    }
}
