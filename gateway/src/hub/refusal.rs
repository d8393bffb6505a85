use herring_swarm::{OpenError, ReadError};
use http::{HeaderValue, Method, Response, StatusCode, header};

use super::answer::json;
use crate::Body;

/// What a hub says instead of an answer. Its clients go by the code; what they show people is the detail.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    detail: String,
    commit: Option<String>,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), commit: None }
    }

    pub fn no_hub() -> Self {
        let detail = "no hub is among this node's origins: start it with --origin hub=hf://";
        Self::new(StatusCode::NOT_FOUND, "RepoNotFound", detail)
    }

    pub fn no_route(path: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "NotFound",
            format!("{path} is nothing that can be downloaded from a hub through this node"),
        )
    }

    pub fn method(method: &Method) -> Self {
        let detail = format!("{method} would change something; this node only gives what is there");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", detail)
    }

    pub fn no_repository(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "RepoNotFound", detail)
    }

    pub fn no_revision(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "RevisionNotFound", detail)
    }

    pub fn no_entry(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "EntryNotFound", detail)
    }

    pub fn not_let_in(status: StatusCode, why: &str) -> Self {
        let code = if status == StatusCode::UNAUTHORIZED { "Unauthorized" } else { "Forbidden" };
        Self::new(status, code, why)
    }

    pub fn precondition() -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, "PreconditionFailed", "what is here is not what the request names")
    }

    pub fn form(why: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", format!("the form that came with the request cannot be used: {why}"))
    }

    pub fn malformed(what: &str, why: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "BadGateway", format!("the hub's answer about {what} is not what a hub says: {why}"))
    }

    /// Whether it says nothing about what was asked, only about now.
    pub fn is_passing(&self) -> bool {
        self.status == StatusCode::SERVICE_UNAVAILABLE
    }

    pub fn busy(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "Unavailable", detail)
    }

    pub fn at(self, commit: &str) -> Self {
        Self { commit: Some(commit.to_owned()), ..self }
    }

    pub fn answer(self) -> Response<Body> {
        let text = serde_json::json!({ "error": self.detail }).to_string();
        let mut response = json(text.into());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert("x-error-code", HeaderValue::from_static(self.code));
        if let Ok(detail) = HeaderValue::from_str(&self.detail.replace(|letter: char| !(' '..='~').contains(&letter), "?")) {
            headers.insert("x-error-message", detail);
        }
        if let Some(commit) = self.commit.and_then(|commit| HeaderValue::try_from(commit).ok()) {
            headers.insert("x-repo-commit", commit);
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        response
    }
}

/// What is not there is left to whoever knows what was asked for.
impl From<OpenError> for Refusal {
    fn from(error: OpenError) -> Self {
        let (status, code) = match &error {
            OpenError::NotFound { .. } | OpenError::NoOrigin { .. } | OpenError::InvalidKey { .. } => {
                (StatusCode::NOT_FOUND, "EntryNotFound")
            }
            OpenError::Denied { .. } => (StatusCode::FORBIDDEN, "GatedRepo"),
            OpenError::Unlisted { .. } | OpenError::Unavailable { .. } => (StatusCode::SERVICE_UNAVAILABLE, "Unavailable"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        let status = match &error {
            ReadError::Changed { .. } => StatusCode::CONFLICT,
            ReadError::Denied { .. } => StatusCode::FORBIDDEN,
            ReadError::Overloaded { .. } => StatusCode::SERVICE_UNAVAILABLE,
            ReadError::Unavailable { .. } | ReadError::False { .. } => StatusCode::BAD_GATEWAY,
        };
        Self::new(status, "Unavailable", error.to_string())
    }
}
