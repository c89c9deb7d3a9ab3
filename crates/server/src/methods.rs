//! What the descriptors say about each method: the list that the role table and the deadline layer go by.

use std::collections::HashMap;

use prost::Message as _;
use prost_types::method_options::IdempotencyLevel;
use prost_types::{FileDescriptorSet, MethodOptions};

/// One method as declared in the protos.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Method {
    /// Full service name, such as `entrepot.orders.v1.OrdersService`.
    pub service: String,
    /// One request message, one reply message: such calls have a deadline.
    pub is_unary: bool,
    /// One request message, whatever the reply: the message is waited for before anything is done.
    pub is_asked_once: bool,
    /// Full name of its request message.
    pub input: String,
    /// It changes nothing (`idempotency_level = NO_SIDE_EFFECTS`): it ends when its caller is gone.
    pub is_read: bool,
}

/// The services that are open to everyone.
pub(crate) const OPEN: [&str; 3] = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

impl Method {
    /// Of health or reflection: open to everyone, with no row in the role table. They must answer when nothing else does.
    pub(crate) fn is_open(&self) -> bool {
        OPEN.contains(&self.service.as_str())
    }
}

/// All methods of some descriptor sets by their path, `/package.Service/Method`.
#[derive(Debug, Clone, Default)]
pub struct Methods {
    by_path: HashMap<String, Method>,
}

impl Methods {
    /// Reads encoded `FileDescriptorSet`s.
    pub fn read(descriptor_sets: &[&[u8]]) -> Result<Self, prost::DecodeError> {
        let mut by_path = HashMap::new();
        for encoded in descriptor_sets {
            for file in FileDescriptorSet::decode(*encoded)?.file {
                let package = file.package().to_owned();
                for service in &file.service {
                    let name = full_name(&package, service.name());
                    for method in &service.method {
                        let is_asked_once = !method.client_streaming();
                        let is_unary = is_asked_once && !method.server_streaming();
                        let path = format!("/{name}/{}", method.name());
                        let is_read = method.options.as_ref().is_some_and(changes_nothing);
                        let service = name.clone();
                        let input = method.input_type().trim_start_matches('.').to_owned();
                        let method = Method { service, is_unary, is_asked_once, input, is_read };
                        by_path.insert(path, method);
                    }
                }
            }
        }
        Ok(Self { by_path })
    }

    /// The methods of `services` only.
    #[must_use]
    pub fn only(&self, services: &[&str]) -> Self {
        let served = |method: &Method| services.contains(&method.service.as_str());
        let kept = self.by_path.iter().filter(|(_, method)| served(method));
        Self { by_path: kept.map(|(path, method)| (path.clone(), method.clone())).collect() }
    }

    /// The method at `path`.
    pub fn get(&self, path: &str) -> Option<&Method> {
        self.by_path.get(path)
    }

    /// All methods with their paths, in no order.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Method)> {
        self.by_path.iter().map(|(path, method)| (path.as_str(), method))
    }
}

fn changes_nothing(options: &MethodOptions) -> bool {
    options.idempotency_level() == IdempotencyLevel::NoSideEffects
}

fn full_name(package: &str, service: &str) -> String {
    if package.is_empty() { service.to_owned() } else { format!("{package}.{service}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_health_service_has_one_unary_and_one_streaming_method() {
        let methods = Methods::read(&[tonic_health::pb::FILE_DESCRIPTOR_SET]).unwrap();
        assert!(methods.get("/grpc.health.v1.Health/Check").unwrap().is_unary);
        assert!(!methods.get("/grpc.health.v1.Health/Watch").unwrap().is_unary);
        assert!(methods.get("/grpc.health.v1.Health/Watch").unwrap().is_asked_once);
        assert_eq!(methods.get("/grpc.health.v1.Health/Check").unwrap().service, "grpc.health.v1.Health");
    }

    #[test]
    fn bytes_that_are_no_descriptors_are_refused() {
        assert!(Methods::read(&[b"\xff\xff"]).is_err());
    }
}
