//! What every request with a body goes through: bounds, stalls, and an orderly end where the body is not wanted.

use std::future::Future;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::FromRequest;
use bytes::BytesMut;
use futures_util::{FutureExt, StreamExt};
use http::{Request, header};
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::admission::Crowd;
use super::body::{BodyEnd, Incoming, PACE, STALL};
use super::deadline::{REPLY, within};
use super::{ApiError, ErrorKind};
use crate::ByteStream;

/// How long the rest of a body is read once it is in vain. Long enough for a client nearby to end, and to read why it
/// was refused; nobody should upload a terabyte to learn that the disk is full.
const LINGER: Duration = Duration::from_secs(5);

/// How long a body waits for room.
const ROOM_WAIT: Duration = Duration::from_secs(5);

/// KiB of room that a body takes at once: for as much as came of it, in steps, and not for what it says that will come.
const ROOM_STEP: usize = 64;

/// How long the whole of a body may take that is held in memory: 64 MiB at 18 Mbit/s.
const WHOLE: Duration = Duration::from_secs(30);

/// KiB of the bodies that are held whole, of all requests together. Without it each of some thousand streams could hold its own bound.
pub(super) struct Room(Semaphore);

/// For nodes: four of the largest manifests. What people do takes nothing from them.
pub(super) static PEERS: Room = Room::new(256 << 10);

/// For people and their programs: 64 of the largest bodies.
pub(super) static PEOPLE: Room = Room::new(64 << 10);

/// What a body has of it, until it is dropped.
pub(super) struct Place(SemaphorePermit<'static>);

impl Room {
    const fn new(kib: usize) -> Self {
        Self(Semaphore::const_new(kib))
    }

    /// So much of it that `bytes` fit.
    async fn widen(&'static self, Place(place): &mut Place, bytes: usize) -> Result<(), ApiError> {
        let lacks = bytes.div_ceil(1024).saturating_sub(place.num_permits());
        if lacks == 0 {
            return Ok(());
        }
        let kib = u32::try_from(lacks.next_multiple_of(ROOM_STEP)).unwrap_or(u32::MAX);
        let more = tokio::time::timeout(ROOM_WAIT, self.0.acquire_many(kib))
            .await
            .map_err(|_| ApiError::new(ErrorKind::Unavailable, "too many bodies are being read just now; try again"))?;
        place.merge(more.expect("the semaphore is never closed"));
        Ok(())
    }

    /// JSON from a body that is bounded by whoever hands it in, and the room that it has.
    pub(super) async fn read_json<T: DeserializeOwned>(&'static self, body: ByteStream) -> Result<(T, Place), ApiError> {
        let read = tokio::time::timeout(WHOLE, self.read(body));
        let (all, place) = read.await.unwrap_or_else(|_| Err(slow()))?;
        let json = serde_json::from_slice(&all);
        Ok((json.map_err(|error| refuse(format!("the body is not the JSON that is wanted here: {error}")))?, place))
    }

    async fn read(&'static self, mut body: ByteStream) -> Result<(BytesMut, Place), ApiError> {
        let nothing = self.0.try_acquire_many(0).expect("nothing is always free, and the semaphore is never closed");
        let (mut all, mut place) = (BytesMut::new(), Place(nothing));
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|error| refuse(format!("the body cannot be read: {error}")))?;
            self.widen(&mut place, all.len() + piece.len()).await?;
            all.extend_from_slice(&piece);
        }
        Ok((all, place))
    }
}

/// A request's body, not yet asked for.
pub(super) struct Upload {
    body: Body,
    length: Option<u64>,
    /// The client waits for `100 Continue` before it sends.
    expects: bool,
    crowd: Option<Crowd>,
}

impl<S: Send + Sync> FromRequest<S> for Upload {
    type Rejection = ApiError;

    async fn from_request(request: Request<Body>, _: &S) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let crowd = parts.extensions.remove();
        let length = parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let expects = parts.headers.contains_key(header::EXPECT);
        Ok(Self { body, length, expects, crowd })
    }
}

impl Upload {
    /// A body of JSON, of at most `limit` bytes, in this room.
    pub(super) async fn json<T: DeserializeOwned>(self, limit: u64, room: &'static Room) -> Result<T, ApiError> {
        self.feed(limit, REPLY, |body| room.read_json(body)).await.map(|(json, _)| json)
    }

    /// Hands a body of at most `limit` bytes to `take`, which may go on for `settle` once the whole body is here. What
    /// went wrong with the body itself outranks what `take` made of it.
    pub(super) async fn feed<T, F>(self, limit: u64, settle: Duration, take: impl FnOnce(ByteStream) -> F) -> Result<T, ApiError>
    where
        F: Future<Output = Result<T, ApiError>>,
    {
        if self.length.is_some_and(|length| length > limit) {
            return Err(too_large(limit));
        }
        let (incoming, end) = Incoming::new(self.body, limit, self.crowd.clone());
        let mut end = end.fuse();
        let mut taking = std::pin::pin!(take(Box::pin(incoming)));
        let mut ended = None;
        let taken = tokio::select! {
            biased;
            taken = &mut taking => taken,
            how = &mut end => {
                ended = how.ok();
                within(settle, taking).await
            }
        };
        // The backend may keep the body for a moment longer than its answer took; that moment is not waited for.
        match ended.or_else(|| end.now_or_never()?.ok()) {
            // Whoever still waits for `100 Continue` has sent nothing.
            Some(BodyEnd::Unread { begun: false, .. }) if self.expects => {}
            Some(BodyEnd::Unread { rest, .. }) => {
                let limit = if taken.is_ok() { Duration::MAX } else { LINGER };
                read_away(Incoming::rest(rest, self.crowd), limit).await;
            }
            Some(BodyEnd::Stalled) => return taken.or(Err(stalled())),
            Some(BodyEnd::TooLarge) => return taken.or(Err(too_large(limit))),
            Some(BodyEnd::Broken) => return taken.or(Err(broken())),
            Some(BodyEnd::Complete) | None => {}
        }
        taken
    }
}

/// Before a request is refused as it stands: lets the client end, so that it reads why.
pub(super) async fn turn_away(request: Request<Body>) {
    let expects = request.headers().contains_key(header::EXPECT);
    if !expects && !request.body().is_end_stream() {
        read_away(Incoming::rest(request.into_body().into_data_stream(), None), LINGER).await;
    }
}

/// Reads what nobody wants, before the answer. Many clients send all before they listen: a socket closed on their
/// unread bytes is reset, and with it the answer. Over HTTP/2, curl 7.88 takes an answer before the end of its body for
/// an error, or waits for ever. Who does not want to send in vain asks first, by HEAD or `Expect: 100-continue`.
async fn read_away(mut rest: Incoming, limit: Duration) {
    let read = async { while let Some(Ok(_)) = rest.next().await {} };
    let _ = tokio::time::timeout(limit, read).await;
}

fn refuse(detail: String) -> ApiError {
    ApiError::new(ErrorKind::BadRequest, detail)
}

fn slow() -> ApiError {
    let detail = format!("the body was not here as a whole within {} seconds; nothing was stored", WHOLE.as_secs());
    ApiError::new(ErrorKind::BodyStalled, detail)
}

fn stalled() -> ApiError {
    let (patience, pace) = (STALL.as_secs(), PACE >> 10);
    let detail = format!(
        "no byte of the body came for {patience} seconds, or less than {pace} KiB while this node had few places left; nothing was stored"
    );
    ApiError::new(ErrorKind::BodyStalled, detail)
}

fn too_large(limit: u64) -> ApiError {
    ApiError::new(ErrorKind::TooLarge, format!("the body may have {limit} bytes here"))
}

/// Seldom read by anyone: the client that it is for has gone.
fn broken() -> ApiError {
    ApiError::new(ErrorKind::BadRequest, "the body broke off before its end; nothing was stored")
}

#[cfg(test)]
mod tests {
    use std::io;

    use axum::body::Bytes;
    use futures_util::stream;
    use serde_json::{Value, json};

    use super::*;

    fn upload(body: Body, length: u64) -> Upload {
        Upload { body, length: Some(length), expects: false, crowd: None }
    }

    /// This much at once, and then a byte every ten seconds for ever.
    fn trickle(first: usize) -> Body {
        let head = stream::iter([Ok::<_, io::Error>(Bytes::from(vec![b' '; first]))]);
        let rest = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            Some((Ok(Bytes::from_static(b" ")), ()))
        });
        Body::from_stream(head.chain(rest))
    }

    async fn read(room: &'static Room, body: Body, length: u64) -> Result<Value, ApiError> {
        upload(body, length).json(64 << 20, room).await
    }

    /// However much they say that they will send.
    #[tokio::test(start_paused = true)]
    async fn those_that_send_nothing_take_no_room_and_do_not_last() {
        static ROOM: Room = Room::new(256);
        let began = tokio::time::Instant::now();
        let slow: Vec<_> = (0..3).map(|_| tokio::spawn(read(&ROOM, trickle(1), 64 << 20))).collect();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(ROOM.0.available_permits(), 64);
        assert_eq!(read(&ROOM, Body::from("[7]"), 3).await.unwrap(), json!([7]));
        assert_eq!(began.elapsed(), Duration::from_secs(1), "it waited for nobody");
        for one in slow {
            assert_eq!(one.await.unwrap().unwrap_err().kind, ErrorKind::BodyStalled);
        }
        assert!(began.elapsed() <= WHOLE + LINGER);
        assert_eq!(ROOM.0.available_permits(), 256);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_takes_room_in_steps_until_there_is_none() {
        static ROOM: Room = Room::new(256);
        let large = tokio::spawn(read(&ROOM, trickle(100 << 10), 64 << 20));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(ROOM.0.available_permits(), 128);
        let pieces = (0..5).map(|_| Ok::<_, io::Error>(Bytes::from(vec![b' '; 64 << 10])));
        let much = read(&ROOM, Body::from_stream(stream::iter(pieces)), 320 << 10).await;
        assert_eq!(much.unwrap_err().kind, ErrorKind::Unavailable);
        assert_eq!(ROOM.0.available_permits(), 128, "who is refused gives back what it had");
        drop(large);
    }

    #[tokio::test(start_paused = true)]
    async fn people_take_nothing_from_peers() {
        let _all = PEOPLE.0.acquire_many(64 << 10).await.unwrap();
        assert_eq!(read(&PEOPLE, Body::from("1"), 1).await.unwrap_err().kind, ErrorKind::Unavailable);
        assert_eq!(read(&PEERS, Body::from("1"), 1).await.unwrap(), json!(1));
    }
}
