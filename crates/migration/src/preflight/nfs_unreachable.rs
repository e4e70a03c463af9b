//! Rule `nfs-unreachable`: the NFS servers of the domain's disks answer both hosts.

use api::{HostFacts, NfsFacts};

use super::Facts;
use super::rule::{Answer, Rule};

/// An NFS server does not answer one of the hosts.
pub(super) static NFS_UNREACHABLE: Rule = Rule {
    code: "nfs-unreachable",
    what: "the NFS server answers: its portmapper and MOUNT where they are needed, and NFS itself",
    why: "a server's firewall may let one host in and not the other, and one service and not the other",
    needed: false,
    judge: |facts| {
        let hosts = std::iter::once(&facts.source).chain(facts.told().map(|target| &target.host));
        hosts
            .flat_map(|host| host.nfs.iter().map(|nfs| judged(facts, host, nfs).about(&nfs.server)))
            .collect()
    },
};

fn judged(facts: &Facts, host: &HostFacts, nfs: &NfsFacts) -> Answer {
    let (server, name) = (&nfs.server, &host.host);
    let rpc = nfs.rpc_fault.as_ref().filter(|_| nfs.version3);
    let said = match (rpc, &nfs.nfs_fault) {
        (None, None) => return side(facts, host, Answer::pass(), "answers"),
        (Some(rpc), None) => format!("{name} does not reach rpcbind or mountd of {server}: {rpc}"),
        (None, Some(fault)) => format!("{name} does not reach NFS of {server}: {fault}"),
        (Some(rpc), Some(fault)) => format!("{name} reaches no service of {server}: {rpc}; {fault}"),
    };
    let services = match (rpc, &nfs.nfs_fault) {
        (Some(_), None) => ["rpc-bind", "mountd"].as_slice(),
        (None, _) => &["nfs"],
        (Some(_), Some(_)) => &["nfs", "rpc-bind", "mountd"],
    };
    let added: Vec<String> = services.iter().map(|service| format!("--add-service={service}")).collect();
    let mend = format!(
        "on {server}: systemctl enable --now rpcbind nfs-server; firewall-cmd --permanent {}; firewall-cmd --reload",
        added.join(" ")
    );
    side(facts, host, Answer::fail(said, mend), "no answer")
}

/// What a host sees stands on its side.
fn side(facts: &Facts, host: &HostFacts, answer: Answer, seen: &str) -> Answer {
    if host.host == facts.source.host { answer.between(seen, "") } else { answer.between("", seen) }
}
