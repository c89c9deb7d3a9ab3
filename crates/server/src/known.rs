//! Values of enums in requests: proto3 takes any number.

/// The value of an enum of the contract, or why the number is none: a caller that is newer than we are must not have its
/// value taken for none.
pub fn known<E: TryFrom<i32>>(number: i32) -> Result<E, String> {
    E::try_from(number).map_err(|_| format!("{number} is not a known value"))
}
