//! Why a host was not emptied. Main type: [`DrainFailure`].

/// Why not.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DrainFailure {
    #[error("host {asked} is to be emptied, and this is host {here}")]
    OtherHost { asked: String, here: String },
    #[error("host {host} is being emptied already")]
    Runs { host: String },
    #[error("host {host} was not emptied since its agent started")]
    None { host: String },
    #[error("this host knows no other host that could take its domains in")]
    NoTargets,
    #[error("host {host} is being emptied and takes no domains in")]
    TakesNone { host: String },
}
