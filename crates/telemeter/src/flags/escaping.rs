//! The values of `--forward-escaping`: how names are written for a store that knows only ASCII names.

use telemeter_wire::exposition::Escaping;

/// [`Escaping`], as a flag names it.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
pub(crate) enum ForwardEscaping {
    None,
    Underscores,
    Dots,
    Values,
}

impl ForwardEscaping {
    /// The scheme; `None` where names are not changed.
    pub(crate) const fn scheme(self) -> Option<Escaping> {
        match self {
            Self::None => None,
            Self::Underscores => Some(Escaping::Underscores),
            Self::Dots => Some(Escaping::Dots),
            Self::Values => Some(Escaping::Values),
        }
    }
}
