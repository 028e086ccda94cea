//! The program `authorization-server`: an authority for tests and demos, which accepts the tokens of a file.

use std::path::Path;

use telemeter_auth::{Secret, authority::mock};
use telemeter_http::{file, listen};

use crate::{failure::RunFailure, flags::authority::AuthorizationServerConfig};

/// Answers the server's requests until `shutdown` completes.
///
/// # Errors
/// A file of tokens that cannot be read; an address that cannot be listened on.
pub(crate) async fn serve(
    config: AuthorizationServerConfig,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), RunFailure> {
    let tokens = tokens(&config.tokens_file)?;
    let listener = listen::bind(&config.listen).await?;
    tracing::info!(listen = %listener.local_addr()?, tokens = tokens.len(), "the authority answers");
    listen::serve(listener, mock::router(tokens), listen::ListenLimits::default(), shutdown).await;
    Ok(())
}

/// The tokens of a file, a JSON list of objects with a `token` each.
///
/// # Errors
/// A file that cannot be read, or holds something else; the text names the file.
pub(crate) fn tokens(path: &Path) -> Result<Vec<Secret>, RunFailure> {
    let json = file::read(path, file::LARGE)?;
    Ok(mock::tokens(&json).map_err(|error| format!("{}: {error}", path.display()))?)
}
