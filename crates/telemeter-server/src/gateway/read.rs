//! Reads the bodies of requests, whole and within caps.

use std::time::Duration;

use axum::extract::Request;
use telemeter_http::{
    body::{BodyClient, BodyPace, Buffer},
    listen::{ClientNetwork, Peer},
};

use super::Gateway;
use crate::error::Error;

/// How long a whole body may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(30);
/// How long a body may be slower than `--min-body-rate` in the beginning.
const BODY_GRACE: Duration = Duration::from_secs(5);
/// How long a form may take to arrive, from a caller whose credentials were not verified.
const FORM_DEADLINE: Duration = Duration::from_secs(5);

impl Gateway {
    /// Reads a whole body of at most `cap_bytes`, from a cluster whose credentials were accepted.
    ///
    /// # Errors
    /// [`Error::Body`]; [`BodyError::NoMemory`](telemeter_http::body::BodyError::NoMemory) where too much is being
    /// read already.
    pub async fn read_body(&self, request: Request, cluster: &str, cap_bytes: usize) -> Result<Buffer, Error> {
        let pace = BodyPace { deadline: BODY_DEADLINE, min_bytes_per_second: self.min_body_rate, grace: BODY_GRACE };
        let client = self.workspaces.readers.client(cluster);
        self.read_for(request, client, cap_bytes, &pace).await
    }

    /// Reads a whole form, from a caller of which only the address is known.
    ///
    /// # Errors
    /// As [`Gateway::read_body`].
    pub async fn read_form(&self, request: Request, cap_bytes: usize) -> Result<Buffer, Error> {
        let pace = BodyPace { deadline: FORM_DEADLINE, min_bytes_per_second: 0, grace: FORM_DEADLINE };
        let network = request.extensions().get::<Peer>().map(|peer| ClientNetwork::from(peer.0.ip()));
        let client = self.workspaces.readers.client(network);
        self.read_for(request, client, cap_bytes, &pace).await
    }

    async fn read_for(
        &self,
        request: Request,
        client: BodyClient,
        cap_bytes: usize,
        pace: &BodyPace,
    ) -> Result<Buffer, Error> {
        Ok(self.workspaces.readers.read(request.into_body(), client, cap_bytes, pace).await?)
    }
}
