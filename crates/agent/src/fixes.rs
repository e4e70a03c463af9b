//! Mends of a preflight that Ferry makes by itself on another host, because they take nothing from anybody: a pool that is
//! defined or started, a bridge on a card that is free. Main functions: [`order`], on the host that asks;
//! [`create_bridge`], on the other.

use std::sync::Arc;

use api::{Bridge, BridgeRequest, Fix, PoolOrder, PoolRequest};

use crate::failure::{BridgeFailure, Failure};
use crate::node::Node;
use crate::{bridges, pools};

/// Has another host make a mend.
pub(crate) async fn order(node: &Node, host: &str, fix: Fix) -> Result<(), Failure> {
    let client = node.neighbours.client(host)?;
    let done = match fix {
        Fix::DefinePool { pool } => {
            let define = PoolOrder::Define(PoolRequest::Xml(pools::xml(node, &pool)?));
            match client.order_pools(&define).await {
                Ok(_) => client.order_pools(&PoolOrder::Start(pool)).await.map(drop),
                Err(error) => Err(error),
            }
        }
        Fix::StartPool { pool } => client.order_pools(&PoolOrder::Start(pool)).await.map(drop),
        Fix::CreateBridge { bridge, uplink } => {
            // Nobody reaches the host by that card, so nobody has to confirm it.
            let request = BridgeRequest { confirm_within_ms: 0, ..BridgeRequest::on(bridge, uplink) };
            client.order_bridge(&request).await.map(drop)
        }
    };
    done.map_err(|error| Failure::of_host(host, error))
}

/// Makes a bridge for another host: on a card that this host does not use, and on no other.
pub(crate) async fn create_bridge(node: &Arc<Node>, request: &BridgeRequest) -> Result<Bridge, Failure> {
    if !bridges::uplinks_free(node).await?.contains(&request.uplink) {
        return Err(BridgeFailure::UplinkUsed { uplink: request.uplink.clone() }.into());
    }
    bridges::create(node, request).await
}
