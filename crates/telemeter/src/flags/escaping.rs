//! `--forward-escaping`: how names are written for a store that knows only the old alphabet.

use telemeter_wire::exposition::Escaping;

/// See [`Escaping`].
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
pub(crate) enum ForwardEscaping {
    None,
    Underscores,
    Dots,
    Values,
}

impl ForwardEscaping {
    /// `None` where names stay as they are.
    pub(crate) const fn scheme(self) -> Option<Escaping> {
        match self {
            Self::None => None,
            Self::Underscores => Some(Escaping::Underscores),
            Self::Dots => Some(Escaping::Dots),
            Self::Values => Some(Escaping::Values),
        }
    }
}
