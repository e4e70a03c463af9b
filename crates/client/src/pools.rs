//! Endpoints of an agent about storage pools and their volumes. One method an endpoint, no decisions. Main type:
//! [`Content`].

use api::{
    AutostartRequest, HostPools, Pool, PoolOrder, PoolRequest, Volume, VolumeAsked, VolumeRequest,
    VolumeSizeRequest, VolumeUser,
};
use bytes::Bytes;
use futures_util::Stream;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::time::timeout;

use crate::client::{Call, segment};
use crate::connection::Connection;
use crate::limits::{CONTENT_SILENCE, CONTENT_WITHIN, POOL_WITHIN, SNAPSHOT_WITHIN};
use crate::{Client, ClientError};

/// Every method fails with [`ClientError`]; a refusal of the agent is [`ClientError::Problem`]. A pool is given by its
/// name or its UUID.
impl Client {
    /// `GET /pools`.
    pub async fn pools(&self) -> Result<Vec<Pool>, ClientError> {
        self.json(Call::get("/pools").within(POOL_WITHIN)).await
    }

    /// `GET /pools/{pool}`: finds out whether it works.
    pub async fn pool(&self, pool: &str) -> Result<Pool, ClientError> {
        self.json(Call::get(path(pool, "")).within(POOL_WITHIN)).await
    }

    /// `GET /pools/{pool}/xml`.
    pub async fn pool_xml(&self, pool: &str) -> Result<String, ClientError> {
        self.text(Call::get(path(pool, "/xml"))).await
    }

    /// `POST /pools`.
    pub async fn define_pool(&self, request: &PoolRequest) -> Result<Pool, ClientError> {
        self.json(Call::post("/pools").body(request)).await
    }

    /// `DELETE /pools/{pool}`.
    pub async fn undefine_pool(&self, pool: &str) -> Result<(), ClientError> {
        self.done(Call::delete(path(pool, ""))).await
    }

    /// `POST /pools/{pool}/start`.
    pub async fn start_pool(&self, pool: &str) -> Result<Pool, ClientError> {
        self.json(Call::post(path(pool, "/start")).within(POOL_WITHIN)).await
    }

    /// `POST /pools/{pool}/stop`.
    pub async fn stop_pool(&self, pool: &str) -> Result<Pool, ClientError> {
        self.json(Call::post(path(pool, "/stop")).within(POOL_WITHIN)).await
    }

    /// `POST /pools/{pool}/autostart`.
    pub async fn autostart_pool(&self, pool: &str, enabled: bool) -> Result<Pool, ClientError> {
        let request = AutostartRequest { enabled };
        self.json(Call::post(path(pool, "/autostart")).body(&request).within(POOL_WITHIN)).await
    }

    /// `POST /pools/orders`: the same on every host that the agent knows.
    pub async fn order_pools_everywhere(&self, order: &PoolOrder) -> Result<Vec<HostPools>, ClientError> {
        self.json(Call::post("/pools/orders").body(order).within(POOL_WITHIN * 2)).await
    }

    /// `POST /agent/pools`: one agent asks another.
    pub async fn order_pools(&self, order: &PoolOrder) -> Result<Vec<Pool>, ClientError> {
        self.json(Call::post("/agent/pools").body(order).within(POOL_WITHIN).between_agents()).await
    }

    /// `POST /agent/volumes/users`: one agent asks another.
    pub async fn volume_users(&self, asked: &VolumeAsked) -> Result<Vec<VolumeUser>, ClientError> {
        self.json(Call::post("/agent/volumes/users").body(asked).within(POOL_WITHIN).between_agents()).await
    }

    /// `GET /pools/{pool}/volumes`.
    pub async fn volumes(&self, pool: &str) -> Result<Vec<Volume>, ClientError> {
        self.json(Call::get(path(pool, "/volumes"))).await
    }

    /// `GET /pools/{pool}/volumes/{volume}`.
    pub async fn volume(&self, pool: &str, volume: &str) -> Result<Volume, ClientError> {
        self.json(Call::get(volume_path(pool, volume, ""))).await
    }

    /// `POST /pools/{pool}/volumes`.
    pub async fn create_volume(&self, pool: &str, request: &VolumeRequest) -> Result<Volume, ClientError> {
        self.json(Call::post(path(pool, "/volumes")).body(request)).await
    }

    /// `DELETE /pools/{pool}/volumes/{volume}`.
    pub async fn delete_volume(&self, pool: &str, volume: &str) -> Result<(), ClientError> {
        self.done(Call::delete(volume_path(pool, volume, "")).within(POOL_WITHIN * 2)).await
    }

    /// `POST /pools/{pool}/volumes/{volume}/size`.
    pub async fn resize_volume(
        &self,
        pool: &str,
        volume: &str,
        request: &VolumeSizeRequest,
    ) -> Result<Volume, ClientError> {
        let call = Call::post(volume_path(pool, volume, "/size")).body(request);
        self.json(call.within(SNAPSHOT_WITHIN)).await
    }

    /// `PUT /pools/{pool}/volumes/{volume}/content`: makes a volume of these bytes, which are sent as they come. A
    /// `content` that ends with an error makes none.
    pub async fn upload_volume(
        &self,
        pool: &str,
        volume: &str,
        content: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    ) -> Result<Volume, ClientError> {
        let call = Call::put(volume_path(pool, volume, "/content")).within(CONTENT_WITHIN);
        self.send_content(call, content).await
    }

    /// `GET /pools/{pool}/volumes/{volume}/content`: the bytes of a volume, as they come.
    pub async fn download_volume(&self, pool: &str, volume: &str) -> Result<Content, ClientError> {
        let call = Call::get(volume_path(pool, volume, "/content"));
        let (connection, body) = self.stream(call).await?;
        Ok(Content { body, client: self.clone(), _connection: connection })
    }
}

/// Bytes on their way from an agent.
pub struct Content {
    body: Incoming,
    client: Client,
    // Whatever carries the bytes, such as ssh, lives as long as this.
    _connection: Connection,
}

impl Content {
    /// Bytes that are still to come, where the agent has said it.
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    /// The next bytes; none when all have come.
    ///
    /// # Errors
    /// [`ClientError::Io`] where fewer come than were promised, [`ClientError::TimedOut`] where none do.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        let frame =
            timeout(CONTENT_SILENCE, self.body.frame()).await.map_err(|_elapsed| ClientError::TimedOut {
                address: self.client.address(),
                request: "the next bytes".to_owned(),
                after: CONTENT_SILENCE,
            })?;
        match frame {
            Some(Ok(frame)) => Ok(Some(frame.into_data().unwrap_or_default())),
            Some(Err(source)) => Err(ClientError::Io { address: self.client.address(), sent: true, source }),
            None => Ok(None),
        }
    }
}

fn path(pool: &str, rest: &str) -> String {
    format!("/pools/{}{rest}", segment(pool))
}

fn volume_path(pool: &str, volume: &str, rest: &str) -> String {
    path(pool, &format!("/volumes/{}{rest}", segment(volume)))
}
