//! The client of the JSON API, with errors that say what to do.

use std::path::PathBuf;

use http::{StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::Value;
use telemeter_http::{
    client::{Answer, Outbound, OutboundConfig, OutboundError, OutboundRequest, ProxyUse},
    file::{self, FileError},
};
use url::Url;

use super::model::SummaryJson;

/// Cap on one answer.
const ANSWER_BYTES: usize = 64 << 20;
/// How many items of a list one request asks for.
const PAGE_ITEMS: u64 = 10_000;

/// The API of one server.
pub(super) struct FleetApi {
    outbound: Outbound,
    server: Url,
    token: Option<(PathBuf, String)>,
}

/// Why the API gave no answer. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No server answers at that address.
    #[error("{0}. Is the server running, and is this its --listen-internal? Name another one by --server")]
    Unreachable(OutboundError),
    /// The file of the token cannot be used.
    #[error("--token-file: {0}")]
    Token(String),
    /// The server requires a token, or refused this one.
    #[error("{server} wants a bearer token (401): {hint}")]
    Unauthorized {
        /// Which server.
        server: String,
        /// What to do.
        hint: String,
    },
    /// The server does not accept this host name.
    #[error(
        "{server} does not answer to the name {host} (421): start it with --internal-allowed-hosts={host}, or ask it by a name \
         that it has, as localhost through a port-forward"
    )]
    Misdirected {
        /// Which server.
        server: String,
        /// The name that it was asked by.
        host: String,
    },
    /// The program at that address is another one, or an older server.
    #[error(
        "{server} does not know {path} (404): it is another program, another listener of the server than \
         --listen-internal, or a server older than this API"
    )]
    NoApi {
        /// Which server.
        server: String,
        /// The path of the request.
        path: String,
    },
    /// The server expects TLS.
    #[error("{server} speaks TLS: name it by https://, with --ca-file for a certificate of your own")]
    WantsTls {
        /// Which server.
        server: String,
    },
    /// The answer does not have the form of the API.
    #[error("what {server} answers is not the API of a telemeter server, or of an older one: {problem}")]
    Foreign {
        /// Which server.
        server: String,
        /// What is wrong with the answer.
        problem: String,
    },
    /// The server refused the request, with a reason.
    #[error("{server} answers {status}: {reason}")]
    Refused {
        /// Which server.
        server: String,
        /// The status, as text.
        status: String,
        /// The reason that the answer gives.
        reason: String,
    },
}

impl FleetApi {
    /// A client of the server whose internal listener is at `server`.
    pub(super) fn new(server: Url, token_file: Option<PathBuf>, ca_file: Option<PathBuf>) -> Result<Self, ApiError> {
        let mut config = OutboundConfig::new("fleet");
        config.ca_file = ca_file;
        config.ca_flag = Some("--ca-file");
        config.proxy = ProxyUse::FromEnvironment;
        let token = token_file.map(|path| {
            let token =
                file::read(&path, file::SMALL).map_err(|error: FileError| ApiError::Token(error.to_string()))?;
            let token = String::from_utf8_lossy(&token).trim().to_owned();
            if token.is_empty() {
                return Err(ApiError::Token(format!("{} is empty", path.display())));
            }
            Ok((path, token))
        });
        let outbound = Outbound::new(config, None).map_err(ApiError::Unreachable)?;
        Ok(Self { outbound, server, token: token.transpose()? })
    }

    /// The server's name in messages, without user, password and query.
    pub(super) fn name(&self) -> String {
        format!("{}{}", self.server.origin().ascii_serialization(), self.server.path().trim_end_matches('/'))
    }

    /// The summary: as JSON, and parsed.
    pub(super) async fn summary(&self) -> Result<(Value, SummaryJson), ApiError> {
        let value = self.get(&["summary"], &[]).await?;
        Ok((value.clone(), self.read(value)?))
    }

    /// A whole list, which may take several requests, in the form of one answer.
    pub(super) async fn list(&self, path: &str, query: &[(&str, String)]) -> Result<Value, ApiError> {
        let mut list: Option<Value> = None;
        loop {
            let offset = list.as_ref().map_or(0, item_count);
            let paging = [("limit", PAGE_ITEMS.to_string()), ("offset", offset.to_string())];
            let query: Vec<_> = query.iter().cloned().chain(paging).collect();
            let mut page = self.get(&[path], &query).await?;
            let total = page["total"].as_u64().ok_or_else(|| self.foreign("its list has no total"))?;
            let added = item_count(&page);
            let list = match list.as_mut() {
                None => list.insert(page),
                Some(list) => {
                    if let (Value::Array(all), Value::Array(more)) = (&mut list["items"], page["items"].take()) {
                        all.extend(more);
                    }
                    list
                }
            };
            if added == 0 || item_count(list) >= total {
                return Ok(list.take());
            }
        }
    }

    /// Parses a value of the API.
    pub(super) fn read<T: DeserializeOwned>(&self, value: Value) -> Result<T, ApiError> {
        serde_json::from_value(value).map_err(|error| self.foreign(&error.to_string()))
    }

    /// The answer to one request below `/api/v1/`.
    pub(super) async fn get(&self, path: &[&str], query: &[(&str, String)]) -> Result<Value, ApiError> {
        let mut url = self.server.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "v1"]).extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query.iter().map(|(name, value)| (name, value)));
        }
        let mut request = OutboundRequest::get(url.clone());
        if let Some((file, token)) = &self.token {
            request = request
                .with_bearer(token)
                .map_err(|_| ApiError::Token(format!("{} has characters that no header may hold", file.display())))?;
        }
        let answer = self.outbound.send(request, ANSWER_BYTES).await.map_err(|error| match error {
            OutboundError::Broken(problem) => self.foreign(&problem),
            OutboundError::TooLarge { .. } => self.foreign(&error.to_string()),
            error => ApiError::Unreachable(error),
        })?;
        let is_json =
            answer.headers.get(header::CONTENT_TYPE).is_some_and(|is| is.as_bytes().starts_with(b"application/json"));
        match serde_json::from_slice::<Value>(&answer.body).ok().filter(|_| is_json) {
            Some(json) if answer.status == StatusCode::OK => Ok(json),
            json => Err(self.refusal_error(&answer, json.as_ref(), url.path())),
        }
    }

    /// The error for an answer that is not JSON with status 200. `json` is the parsed body, `None` where it is not
    /// JSON. The status 401, the status 421 and the need for HTTPS come first, then the text in the field `error`;
    /// without one, 404 means that the server has no API.
    fn refusal_error(&self, answer: &Answer, json: Option<&Value>, path: &str) -> ApiError {
        let server = self.name();
        let reason = json.and_then(|json| json["error"].as_str());
        match (answer.status, reason) {
            (StatusCode::UNAUTHORIZED, _) => {
                let hint = match &self.token {
                    None => "give the server's own by --token-file, the one of its --internal-token-file".to_owned(),
                    Some((file, _)) => {
                        format!("the one in {} is not the server's --internal-token-file", file.display())
                    }
                };
                ApiError::Unauthorized { server, hint }
            }
            (StatusCode::MISDIRECTED_REQUEST, _) => {
                ApiError::Misdirected { server, host: self.server.host_str().unwrap_or_default().to_owned() }
            }
            _ if answer.wants_https() => ApiError::WantsTls { server },
            (_, Some(reason)) => ApiError::Refused { server, status: answer.status_words(), reason: reason.to_owned() },
            (StatusCode::NOT_FOUND, None) => ApiError::NoApi { server, path: path.to_owned() },
            (StatusCode::OK, None) => self.foreign("it is not JSON"),
            (_, None) => self.foreign(&answer.status_words()),
        }
    }

    /// The error for an answer that does not come from a telemeter-server, with the reason `problem`.
    pub(super) fn foreign(&self, problem: &str) -> ApiError {
        ApiError::Foreign { server: self.name(), problem: problem.to_owned() }
    }
}

/// The number of elements in the field `items`; 0 where that is not an array.
fn item_count(list: &Value) -> u64 {
    list["items"].as_array().map_or(0, |items| items.len() as u64)
}
