//! Status, stable code and mend of what keeps hosts from joining and trusting each other. Main functions: [`row`],
//! [`distrusted`].

use client::tls::Distrust;
use uuid::Uuid;

use crate::failure::JoinFailure;
use crate::http::rows::{self, Row, row as is};

const ALREADY_JOINED: Row = is(
    409,
    "already-joined",
    "`ferry host list` shows with whom; `ferry host join --replace` gives that up for the new ones",
);
const ADDRESS_INVALID: Row = is(
    422,
    "address-invalid",
    "write an IP address or a name, and a port where it is not 7700: 192.0.2.1:7700",
);
const ANSWER_UNUSABLE: Row =
    is(502, "answer-unusable", "see that both hosts run releases of Ferry that fit each other");
const CA_DIFFERS: Row = is(409, "ca-differs", "");
const CA_FAILED: Row = is(
    500,
    "ca-failed",
    "see that the CA's directory and `tls_dir` can be read and written, and hold what they should",
);
const CERTIFICATE_REVOKED: Row = is(403, "certificate-revoked", "");
const CLOCK_SKEW: Row =
    is(409, "clock-skew", "set the wrong clock (`timedatectl set-ntp true` on both hosts), and ask again");
const HOLDS_CA: Row = is(
    409,
    "holds-ca",
    "let the other host join this one; or, if no other host needs this CA, move its directory away and say `--replace`",
);
const HOST_CONFIGURED: Row = is(409, "host-configured", "take it out of agent.toml and restart the agent");
const HOST_NAME_INVALID: Row = is(
    422,
    "host-name-invalid",
    "use small letters, digits, dots and hyphens for `host` in agent.toml, and no number alone",
);
const HOST_NAME_TAKEN: Row = is(
    409,
    "host-name-taken",
    "give this host another name (`host` in agent.toml); or, if it is the same machine made anew, `ferry host remove` the old one first, or take it out of agent.toml and restart the agent",
);
const LISTEN_FIXED: Row = is(409, "listen-fixed", "leave --listen out; `listen` in agent.toml changes it");
const LISTEN_INVALID: Row = is(
    422,
    "listen-invalid",
    "write an IP address of this host and a port, as in 192.0.2.1:7700; not 0.0.0.0",
);
const LISTEN_UNKNOWN: Row = is(
    422,
    "listen-unknown",
    "say --listen ADDRESS:7700 with an address of this host that others reach, or set `listen` in agent.toml",
);
const LISTEN_UNUSABLE: Row = is(
    409,
    "listen-unusable",
    "say --listen with an address of this host and a port that is free (`ss -ltnp`)",
);
const NOT_ISSUER: Row = is(
    409,
    "not-issuer",
    "ask there, as in `ferry --host ssh://HOST host …`; or, for a CA of `ferry ca init`, put its ca.pem and ca-key.pem into `ca` in the state directory here",
);
const OTHER_CA: Row =
    is(409, "other-ca", "put the CA there that host.pem is from, or move that directory away");
const OWN_TOKEN: Row = is(409, "own-token", "say it on the host that is to join");
const REMOVE_ISSUER: Row =
    is(409, "remove-issuer", "remove the other hosts, and let them join another one with --replace");
const TOKENS_MANY: Row = is(409, "tokens-many", "wait until some have expired");
const TOKEN_EXPIRED: Row = is(403, "token-expired", MAKE_TOKEN);
const TOKEN_FOR_ANOTHER: Row = is(403, "token-for-another", MAKE_TOKEN);
const TOKEN_MALFORMED: Row = is(422, "token-malformed", "copy all of it");
const TOKEN_UNKNOWN: Row = is(403, "token-unknown", MAKE_TOKEN);
const TOKEN_USED: Row = is(403, "token-used", MAKE_TOKEN);
const TOKEN_VALIDITY: Row = is(422, "token-validity", "say a time in between");
const TOKEN_VOID: Row = is(403, "token-void", MAKE_TOKEN);
const TOKEN_WRONG: Row = is(403, "token-wrong", "copy all of it; a few wrong ones make it void");
const MAKE_TOKEN: &str = "make a new one on that host: `ferry host token`";

/// The row of an agent that does not answer, or that is not trusted.
pub(super) fn distrusted(error: &client::ClientError) -> Row {
    match error.distrust() {
        None => rows::HOST_UNREACHABLE,
        Some(Distrust::CaDiffers { .. }) => CA_DIFFERS,
        Some(Distrust::RevokedHere | Distrust::RevokedThere) => CERTIFICATE_REVOKED,
        Some(Distrust::Clock { .. } | Distrust::ClockThere { .. }) => CLOCK_SKEW,
        Some(Distrust::NotIssuer) => NOT_ISSUER,
    }
}

fn settle(migration: Uuid) -> String {
    format!(
        "wait for it (`ferry migrations watch {migration}`) or cancel it; one that is in doubt is ended by `ferry migrations resolve`"
    )
}

/// The row of a failure.
pub(super) fn row(failure: &JoinFailure) -> Row {
    match failure {
        JoinFailure::TokenMalformed => TOKEN_MALFORMED,
        JoinFailure::TokenUnknown { .. } => TOKEN_UNKNOWN,
        JoinFailure::TokenWrong => TOKEN_WRONG,
        JoinFailure::TokenVoid { .. } => TOKEN_VOID,
        JoinFailure::TokenUsed { .. } => TOKEN_USED,
        JoinFailure::TokenExpired { .. } => TOKEN_EXPIRED,
        JoinFailure::TokenForAnother { .. } => TOKEN_FOR_ANOTHER,
        JoinFailure::TokenValidity { .. } => TOKEN_VALIDITY,
        JoinFailure::TokensMany { .. } => TOKENS_MANY,
        JoinFailure::NameTaken { .. } => HOST_NAME_TAKEN,
        JoinFailure::NameInvalid { .. } => HOST_NAME_INVALID,
        JoinFailure::AlreadyJoined { .. } => ALREADY_JOINED,
        JoinFailure::HoldsCa { .. } => HOLDS_CA,
        JoinFailure::OwnToken => OWN_TOKEN,
        JoinFailure::NotIssuer { .. } => NOT_ISSUER,
        JoinFailure::OtherCa { .. } => OTHER_CA,
        JoinFailure::ClockSkew { .. } | JoinFailure::NotDue { .. } => CLOCK_SKEW,
        JoinFailure::ListenUnknown => LISTEN_UNKNOWN,
        JoinFailure::ListenInvalid { .. } => LISTEN_INVALID,
        JoinFailure::ListenUnusable { .. } => LISTEN_UNUSABLE,
        JoinFailure::ListenFixed { .. } => LISTEN_FIXED,
        JoinFailure::Address { .. } => ADDRESS_INVALID,
        JoinFailure::Refused { problem, .. } => {
            rows::REFUSED_BY_TARGET.say(problem.mend.clone().unwrap_or_default())
        }
        JoinFailure::Answer { .. } | JoinFailure::AnswerCa { .. } | JoinFailure::NotFromIssuer { .. } => {
            ANSWER_UNUSABLE
        }
        JoinFailure::RemoveIssuer => REMOVE_ISSUER,
        JoinFailure::Migrating { migration, .. } => rows::MIGRATING.say(settle(*migration)),
        JoinFailure::Configured { .. } => HOST_CONFIGURED,
        JoinFailure::Ca(_) | JoinFailure::Identity(_) => CA_FAILED,
    }
}
