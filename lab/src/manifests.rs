//! The directory of YAML that all gateways of a lab read: made from the topology, changed file by file, each change one
//! rename, as an editor or a configuration tool would.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::journey::POD_PORT;
use crate::topology::{Pod, Topology};

/// A directory of manifests.
#[derive(Clone, Debug)]
pub struct Manifests(PathBuf);

impl Manifests {
    /// Where a lab keeps them.
    pub fn of(home: &Path) -> Manifests {
        Manifests(home.join("manifests"))
    }

    /// Writes the topology's files.
    pub fn fill(&self, topology: &Topology) -> Result<()> {
        std::fs::create_dir_all(&self.0)?;
        topology.manifests.iter().try_for_each(|(name, text)| self.put(name, text))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Puts a file in place by a rename: a reader sees the old one or the new one.
    pub fn put(&self, name: &str, text: &str) -> Result<()> {
        let draft = self.0.join(format!(".{name}.draft"));
        std::fs::write(&draft, text)?;
        std::fs::rename(&draft, self.0.join(name)).with_context(|| format!("putting {name} in place"))
    }

    /// Removes a file.
    pub fn remove(&self, name: &str) -> Result<()> {
        std::fs::remove_file(self.0.join(name)).with_context(|| format!("removing {name}"))
    }
}

/// The EndpointSlice of a Service in namespace `shop`.
pub fn endpoint_slice(service: &str, pods: &[&Pod]) -> String {
    let mut text = format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {service}\n  namespace: shop\n  \
         labels: {{kubernetes.io/service-name: {service}}}\naddressType: IPv4\n\
         ports: [{{name: http, port: {POD_PORT}, protocol: TCP}}]\nendpoints:\n"
    );
    for Pod { name, node, address } in pods {
        text += &format!(
            "- addresses: [{address}]\n  conditions: {{ready: true, serving: true, terminating: false}}\n  \
             nodeName: {node}\n  targetRef: {{kind: Pod, name: {name}, namespace: shop}}\n"
        );
    }
    text
}

/// A Pod in namespace `shop`; `labels` as `app: web`.
pub fn pod(pod: &Pod, labels: &str) -> String {
    let Pod { name, node, address } = pod;
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: shop\n  labels: {{{labels}}}\nspec:\n  \
         nodeName: {node}\n  containers: [{{name: main, image: lab}}]\nstatus:\n  phase: Running\n  podIP: {address}\n  \
         podIPs: [{{ip: {address}}}]\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journey::JOURNEY;

    /// What scenarios write has the form of the files they replace, so that a change changes nothing but endpoints.
    #[test]
    fn same_form_as_the_files() {
        let file = |name| JOURNEY.manifests.iter().find(|(file, _)| *file == name).unwrap().1;
        let pods = [JOURNEY.pod("web-a1"), JOURNEY.pod("web-a2")];
        assert_eq!(endpoint_slice("web-a", &pods), file("endpoints-web-a.yaml"));
        assert!(file("pods.yaml").contains(&pod(JOURNEY.pod("web-b2"), "app: web, version: b")));
    }
}
