//! Images, by the policy of a job.

use bollard::{Docker, auth::DockerCredentials, query_parameters::CreateImageOptions};
use futures::TryStreamExt as _;
use tidegate_sdk_core::proto::LogLevel;

use super::{super::StartError, cause, is_not_there};
use crate::{job::Job, logs::Output, secrets::Secrets};

/// The job variable that says when an image is pulled.
const PULL_POLICY: &str = "pull_policy";
/// The job variable that names the secret with the login of its registry.
const REGISTRY_SECRET: &str = "registry_secret";

/// Sees to it that the image of a job is there.
pub(super) async fn provide(
    docker: &Docker,
    job: &Job,
    image: &str,
    secrets: &Secrets,
    output: &Output,
) -> Result<(), StartError> {
    let policy = job.variables.get(PULL_POLICY).and_then(|policy| policy.as_str()).unwrap_or("missing");
    if policy != "always" {
        match docker.inspect_image(image).await {
            Ok(_) => return Ok(()),
            Err(error) if !is_not_there(&error) => return Err(StartError::Passing(cause(&error))),
            Err(_) if policy == "never" => {
                return Err(StartError::Job(format!(
                    "the image {image} is not on the engine, and the job variable `{PULL_POLICY}` is `never`"
                )));
            }
            Err(_) => {}
        }
    }
    let credentials = credentials(job, image, secrets, output)?;
    let (name, tag) = named(image);
    let options = CreateImageOptions {
        from_image: Some(name.to_owned()),
        tag: tag.map(str::to_owned),
        ..Default::default()
    };
    let pulling = format!("the image {image} is pulled");
    output.note(LogLevel::Info, &pulling);
    output.hinders(&pulling);
    let pulled: Result<Vec<_>, _> = docker.create_image(Some(options), None, credentials).try_collect().await;
    pulled.map(drop).map_err(|error| {
        StartError::Passing(format!("the image {image} cannot be pulled: {}", cause(&error)))
    })
}

fn credentials(
    job: &Job,
    image: &str,
    secrets: &Secrets,
    output: &Output,
) -> Result<Option<DockerCredentials>, StartError> {
    let Some(name) = job.variables.get(REGISTRY_SECRET).and_then(|name| name.as_str()) else {
        return Ok(None);
    };
    let login = secrets.get(name).map_err(|error| StartError::Job(error.to_string()))?;
    output.hide([login.as_str()]);
    let Some((user, password)) = login.split_once(':') else {
        return Err(StartError::Job(format!(
            "the secret `{name}` is no login of a registry, which is `user:password`"
        )));
    };
    output.hide([login.as_str(), password]);
    Ok(Some(DockerCredentials {
        username: Some(user.to_owned()),
        password: Some(password.to_owned()),
        serveraddress: Some(registry_of(image).to_owned()),
        ..Default::default()
    }))
}

/// The image and its tag. Without one all tags would be pulled.
fn named(image: &str) -> (&str, Option<&str>) {
    if image.contains('@') {
        return (image, None);
    }
    let (path, last) = image.rsplit_once('/').map_or(("", image), |(path, last)| (path, last));
    match last.split_once(':') {
        Some((name, tag)) => (&image[..path.len() + usize::from(!path.is_empty()) + name.len()], Some(tag)),
        None => (image, Some("latest")),
    }
}

fn registry_of(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tag_is_pulled() {
        assert_eq!(named("etl"), ("etl", Some("latest")));
        assert_eq!(named("team/etl:7"), ("team/etl", Some("7")));
        assert_eq!(named("registry:5000/team/etl"), ("registry:5000/team/etl", Some("latest")));
        assert_eq!(named("registry:5000/etl:7"), ("registry:5000/etl", Some("7")));
        assert_eq!(named("etl@sha256:abc"), ("etl@sha256:abc", None));
    }

    #[test]
    fn a_login_is_for_the_registry_of_the_image() {
        let registries =
            ["etl", "team/etl", "ghcr.io/team/etl:7", "localhost/etl", "registry:5000/etl"].map(registry_of);
        assert_eq!(registries, ["docker.io", "docker.io", "ghcr.io", "localhost", "registry:5000"]);
    }
}
