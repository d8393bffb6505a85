use herring_http_api::types::{Drain, DrainState};

use crate::fake::Fake;
use crate::{Answer, ask, get};

fn state(answer: &Answer) -> DrainState {
    let drain: Drain = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((drain.left_chunks, drain.left_bytes), (2, 3));
    drain.state
}

#[tokio::test]
async fn a_drain_begins_is_looked_at_and_taken_back() {
    let fake = Fake::default();
    assert_eq!(state(&get(&fake, "/v1/drain", &[]).await), DrainState::No);
    for _ in 0..2 {
        let begun = ask(&fake, "POST", "/v1/drain", &[], "").await;
        assert_eq!((begun.status.as_u16(), state(&begun)), (202, DrainState::Draining));
    }
    assert_eq!(get(&fake, "/v1/drain", &[]).await.body, r#"{"state":"draining","left_chunks":2,"left_bytes":3}"#);
    for _ in 0..2 {
        assert_eq!(ask(&fake, "DELETE", "/v1/drain", &[], "").await.status.as_u16(), 204);
    }
    assert_eq!(state(&get(&fake, "/v1/drain", &[]).await), DrainState::No);
    assert_eq!(ask(&fake, "PUT", "/v1/drain", &[], "").await.kind(), "method-not-allowed");
}

#[tokio::test]
async fn a_refusal_to_drain_says_why() {
    let fake = Fake::default();
    *fake.waits_for.lock().unwrap() = Some("another node".into());
    let refused = ask(&fake, "POST", "/v1/drain", &[], "").await;
    assert_eq!((refused.kind().as_str(), refused.problem().detail.as_str()), ("unavailable", "another node"));
    assert_eq!(state(&get(&fake, "/v1/drain", &[]).await), DrainState::No);
}
