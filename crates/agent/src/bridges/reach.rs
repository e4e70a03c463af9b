//! Which of the hosts that this one knows it reaches, before a bridge is made and afterwards. Main functions: [`reached`],
//! [`lost`].

use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout};

use crate::limits::{NEIGHBOUR_AGAIN_EVERY, NEIGHBOUR_AGAIN_TIMEOUT, NEIGHBOUR_TIMEOUT};
use crate::node::Node;

/// The hosts whose agents answer, each asked over a new connection.
pub(super) async fn reached(node: &Node) -> Vec<String> {
    let hosts = node.neighbours.list();
    let answers = join_all(hosts.iter().map(|host| answers(node, &host.name))).await;
    hosts.into_iter().zip(answers).filter_map(|(host, answers)| answers.then_some(host.name)).collect()
}

/// Those of `hosts` that do not answer any more; they are given a little time.
pub(super) async fn lost(node: &Node, hosts: Vec<String>) -> Vec<String> {
    let deadline = Instant::now() + NEIGHBOUR_AGAIN_TIMEOUT;
    let answers = join_all(hosts.iter().map(|host| async move {
        while !answers(node, host).await {
            if Instant::now() >= deadline {
                return false;
            }
            sleep(NEIGHBOUR_AGAIN_EVERY).await;
        }
        true
    }))
    .await;
    hosts.into_iter().zip(answers).filter_map(|(host, answers)| (!answers).then_some(host)).collect()
}

async fn answers(node: &Node, host: &str) -> bool {
    let Ok(client) = node.neighbours.client(host) else { return false };
    matches!(timeout(NEIGHBOUR_TIMEOUT, client.connect()).await, Ok(Ok(())))
}
