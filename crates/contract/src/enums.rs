//! Numbers of enums in requests. A number that the contract does not have is refused with those that it has, never
//! taken for the default.

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

use prost::Message as _;
use prost_types::{EnumDescriptorProto, FileDescriptorSet};

/// A number that an enum does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unknown {
    /// Its path in this crate, such as `contract::entrepot::inventory::v1::Adjustment`.
    path: &'static str,
    /// The number that was sent.
    pub number: i32,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, number } = self;
        let name = path.replace("r#", "").replace("::", ".");
        let name = name.strip_prefix("contract.").unwrap_or(&name);
        let short = name.rsplit('.').next().unwrap_or(name);
        write!(f, "{number} is not a known {short}; the known values are ")?;
        let values = VALUES.get(name).map_or(&[] as &[_], Vec::as_slice);
        for (index, (number, value)) in values.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{value} ({number})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Unknown {}

/// The value of the enum that has this number. 0 is a value: most fields require another.
pub fn known<E: TryFrom<i32>>(number: i32) -> Result<E, Unknown> {
    E::try_from(number).map_err(|_| Unknown { path: std::any::type_name::<E>(), number })
}

/// The values of each enum but the unspecified one, by the full name of the enum.
static VALUES: LazyLock<HashMap<String, Vec<(i32, String)>>> = LazyLock::new(|| {
    let Ok(set) = FileDescriptorSet::decode(crate::DESCRIPTORS) else { return HashMap::new() };
    let value = |value: &prost_types::EnumValueDescriptorProto| (value.number(), value.name().to_owned());
    let values = |declared: &EnumDescriptorProto| {
        declared.value.iter().map(value).filter(|(number, _)| *number != 0).collect::<Vec<_>>()
    };
    let mut all = HashMap::new();
    for file in &set.file {
        for declared in &file.enum_type {
            all.insert(format!("{}.{}", file.package(), declared.name()), values(declared));
        }
    }
    all
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::v1::Adjustment;
    use crate::r#type::v1::Method;

    #[test]
    fn an_unknown_number_is_refused_with_the_known_values() {
        assert_eq!(known(2), Ok(Adjustment::Count));
        let unknown = known::<Adjustment>(99).unwrap_err().to_string();
        assert!(
            unknown.starts_with("99 is not a known Adjustment; the known values are ADJUSTMENT_DELTA (1), ")
        );
        assert!(unknown.ends_with("ADJUSTMENT_WRITE_OFF (5)"), "{unknown}");
        let unknown = known::<Method>(-1).unwrap_err().to_string();
        assert!(
            unknown.starts_with("-1 is not a known Method; the known values are METHOD_PICKUP (1)"),
            "{unknown}"
        );
    }
}
