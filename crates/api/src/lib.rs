//! The HTTP types of `/api/v1`: what the command line, the console and other agents say to an agent and hear
//! from it. Only shapes: no I/O, no decisions. Main types: [`Domain`], [`MigrationRequest`], [`MigrationEvent`],
//! [`MigrationReport`], [`Problem`], and between agents [`Offer`], [`Ticket`], [`Verdict`] and
//! [`Protocols`].
#![forbid(unsafe_code)]

mod bridge;
mod check;
mod convergence;
mod copy;
mod definition;
mod device;
mod domain;
mod drain;
mod event;
mod facts;
mod handover;
mod host;
mod install;
mod join;
mod migration;
mod plan;
mod pool;
mod problem;
mod protocol;
mod screen;
mod statistics;
mod storage;
mod verified;

pub use bridge::{BRIDGE_NAME, Bridge, BridgeRequest, is_bridge_name};
pub use check::{CheckMode, CheckReport, CheckRequest, Checked, Fix, Severity};
pub use convergence::{Decided, Decision, OnStuck, Reason, Settings};
pub use copy::{CloneRequest, ImportRequest, Imported, Snapshot, SnapshotRequest};
pub use definition::{AutostartRequest, DefineRequest, EditRequest, Nvram, RenameRequest, SizeRequest};
pub use device::{AttachRequest, DetachRequest, Device, MediaRequest, Scope};
pub use domain::{Disk, Domain, DomainState, Interface, RebootRequest, ShutdownRequest};
pub use drain::{Drain, DrainRequest, DrainState, DrainedDomain, NotThere, Room, StopDrain, Turn};
pub use event::{DomainEvent, EventKind};
pub use facts::{
    BridgeFacts, BridgeFault, BrokenChain, CertificateFacts, CheckOffer, DeviceLack, DiskFacts, FileFacts,
    HostFacts, HugepageFacts, MacUse, NfsFacts, NonceSeen, PlaceFacts, TargetFacts, UnknownFact,
};
pub use handover::{
    DISK_PROTOCOL, Finding, Listening, Offer, Pledge, Settlement, SourceFacts, TargetPhase, TargetStatus,
    Ticket, Verdict,
};
pub use host::{Accelerator, Cpu, Host, Neighbour, Version};
pub use install::{Chipset, InstallDisk, InstallInterface, InstallNetwork, InstallRequest};
pub use join::{
    Admission, Admitted, AgentAddress, Certificate, HostState, JoinRequest, Joined, KnownHost, Member,
    Renewal, Renewed, Roster, Secret, Token, TokenRequest,
};
pub use migration::{
    Downtime, Memory, Migration, MigrationEvent, MigrationPhase, MigrationReport, MigrationRequest,
    MigrationStarted, Outcome, Progress, ResolveAs, ResolveRequest, Role, SourceDefinition,
};
pub use plan::{
    Accuracy, Convergence, Expected, FigureAccuracy, GuestWrites, Interval, LinkKnownBy, LinkProbed, Mean,
    Need, Plan, PlanFacts, Prediction,
};
pub use pool::{
    HostPools, Pool, PoolKind, PoolOrder, PoolParts, PoolRequest, Volume, VolumeAsked, VolumeFormat,
    VolumeRequest, VolumeSizeRequest, VolumeUser,
};
pub use problem::{Detail, Problem};
pub use protocol::{PROTOCOL_HEADER, Protocols};
pub use screen::Vnc;
pub use statistics::{DiskStatistics, InterfaceStatistics, Statistics};
pub use storage::{
    CopiedFile, CopyFile, CopyProgress, CopyReport, CopyRole, CopyStorage, FileSent, FileTaken, Identity,
    Maps, MirrorReport, MirroredDisk, SourceDisks, Verify,
};
pub use verified::{DiskSeen, InterfaceSeen, Verified};

/// Path prefix of every endpoint.
pub const BASE: &str = "/api/v1";
