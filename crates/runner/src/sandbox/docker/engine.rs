//! The Docker Engine over its socket: the few calls we make, each with a deadline, each failure a sentence.

use std::collections::HashMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::{ContainerCreateBody, ImageInspect};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptionsBuilder, ListContainersOptionsBuilder,
    RemoveContainerOptionsBuilder, RemoveImageOptions, RenameContainerOptionsBuilder, StartContainerOptions,
    WaitContainerOptionsBuilder,
};
use futures_util::StreamExt;

use super::super::SandboxError;

/// Where an engine listens unless something else is said.
pub const SOCKET: &str = "/var/run/docker.sock";
/// An engine says that it is there within this.
const PING_DEADLINE: Duration = Duration::from_secs(5);
/// Everything else but pulling and waiting is done within this.
const CALL_DEADLINE: Duration = Duration::from_secs(60);
/// An image is here within this.
const PULL_DEADLINE: Duration = Duration::from_secs(900);
/// A wait that broke off is begun again after this.
const WAIT_AGAIN: Duration = Duration::from_secs(1);

/// An engine that was there when it was asked.
#[derive(Debug)]
pub(super) struct Engine {
    docker: Docker,
    socket: PathBuf,
}

impl Engine {
    /// Speaks to the engine at this socket, once.
    pub(super) async fn connect(socket: &Path) -> Result<Self, SandboxError> {
        let unavailable = |what: &str| {
            SandboxError::Unavailable(format!(
                "Docker does not answer at {}: {what}; is it installed and running, and may this user use it?",
                socket.display()
            ))
        };
        if !socket.exists() {
            return Err(unavailable("there is no such socket"));
        }
        let docker = Docker::connect_with_unix(
            &socket.to_string_lossy(),
            CALL_DEADLINE.as_secs(),
            bollard::API_DEFAULT_VERSION,
        )
        .map_err(|error| unavailable(&error.to_string()))?;
        let docker = tokio::time::timeout(PING_DEADLINE, docker.negotiate_version())
            .await
            .map_err(|_| unavailable("no answer"))?
            .map_err(|error| unavailable(&error.to_string()))?;
        Ok(Self { docker, socket: socket.to_owned() })
    }

    /// Waits for a call, for so long.
    async fn call<T>(
        &self,
        what: &str,
        deadline: Duration,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, SandboxError> {
        match tokio::time::timeout(deadline, call).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(Error::DockerResponseServerError { message, .. })) => {
                Err(SandboxError::Broken(format!("Docker cannot {what}: {}", message.trim())))
            }
            Ok(Err(error)) => Err(SandboxError::Unavailable(format!(
                "Docker cannot be asked to {what} (at {}): {error}; is it being restarted?",
                self.socket.display()
            ))),
            Err(_) => Err(SandboxError::Unavailable(format!(
                "Docker did not {what} within {} s",
                deadline.as_secs()
            ))),
        }
    }

    /// What the engine knows of an image; `None` when it has none of that name.
    pub(super) async fn image(&self, name: &str) -> Result<Option<ImageInspect>, SandboxError> {
        let inspect = async {
            match self.docker.inspect_image(name).await {
                Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
                found => found.map(Some),
            }
        };
        self.call("look at the image", CALL_DEADLINE, inspect).await
    }

    /// Fetches an image from its registry.
    pub(super) async fn pull(&self, name: &str) -> Result<(), SandboxError> {
        let options = CreateImageOptionsBuilder::default().from_image(name).build();
        let pull = async {
            let mut steps = self.docker.create_image(Some(options), None, None);
            while let Some(step) = steps.next().await {
                step?;
            }
            Ok(())
        };
        self.call(&format!("pull {name}"), PULL_DEADLINE, pull).await
    }

    /// Takes a name from an image, and removes it with its last one. False when a container still has it.
    pub(super) async fn remove_image(&self, name: &str) -> Result<bool, SandboxError> {
        let remove = async {
            match self.docker.remove_image(name, None::<RemoveImageOptions>, None).await {
                Err(Error::DockerResponseServerError { status_code: 404, .. }) | Ok(_) => Ok(true),
                Err(Error::DockerResponseServerError { status_code: 409, .. }) => Ok(false),
                Err(error) => Err(error),
            }
        };
        self.call(&format!("remove the image {name}"), CALL_DEADLINE, remove).await
    }

    /// Makes a container; answers its id.
    pub(super) async fn create(
        &self,
        name: &str,
        container: ContainerCreateBody,
    ) -> Result<String, SandboxError> {
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        let create = self.docker.create_container(Some(options), container);
        Ok(self.call("make the container", CALL_DEADLINE, create).await?.id)
    }

    /// Starts a container.
    pub(super) async fn start(&self, id: &str) -> Result<(), SandboxError> {
        let start = self.docker.start_container(id, None::<StartContainerOptions>);
        self.call("start the container", CALL_DEADLINE, start).await
    }

    /// Gives a container another name.
    pub(super) async fn rename(&self, id: &str, name: &str) -> Result<(), SandboxError> {
        let options = RenameContainerOptionsBuilder::default().name(name).build();
        let rename = self.docker.rename_container(id, options);
        self.call("rename the container", CALL_DEADLINE, rename).await
    }

    /// Returns when a container is gone for good, however long it runs.
    pub(super) async fn gone(&self, id: &str) {
        let options = WaitContainerOptionsBuilder::default().condition("removed").build();
        loop {
            let mut waiting = Box::pin(self.docker.wait_container(id, Some(options.clone())));
            match waiting.next().await {
                // A word of its exit code is as good as an error: there is nothing left to wait for.
                Some(Ok(_) | Err(Error::DockerContainerWaitError { .. })) => return,
                Some(Err(Error::DockerResponseServerError { status_code: 404, .. })) => return,
                // The engine is restarted, perhaps: that ends no container.
                Some(Err(error)) => tracing::debug!(%error, id, "waiting for a container's end again"),
                None => {}
            }
            tokio::time::sleep(WAIT_AGAIN).await;
        }
    }

    /// Ends and removes a container, if there is one.
    pub(super) async fn remove(&self, id: &str) -> Result<(), SandboxError> {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        let remove = async {
            match self.docker.remove_container(id, Some(options)).await {
                // Gone, or on its way.
                Err(Error::DockerResponseServerError { status_code: 404 | 409, .. }) => Ok(()),
                other => other,
            }
        };
        self.call("remove the container", CALL_DEADLINE, remove).await
    }

    /// All containers that carry this label, each with its value.
    pub(super) async fn containers_with(&self, label: &str) -> Result<Vec<(String, String)>, SandboxError> {
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filter(label)).build();
        let list = self.docker.list_containers(Some(options));
        let found = self.call("list containers", CALL_DEADLINE, list).await?;
        Ok(found.into_iter().filter_map(|each| Some((each.id?, each.labels?.remove(label)?))).collect())
    }
}

fn filter(label: &str) -> HashMap<String, Vec<String>> {
    HashMap::from([("label".to_owned(), vec![label.to_owned()])])
}
