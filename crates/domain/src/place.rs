//! Where: points on the earth and the way between them.

/// Why two numbers are no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// Not a number from -90 to 90.
    #[error("latitude must be between -90 and 90 degrees")]
    Latitude,
    /// Not a number from -180 to 180.
    #[error("longitude must be between -180 and 180 degrees")]
    Longitude,
}

/// A point on the earth, in degrees (WGS 84).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LatLng {
    lat: f64,
    lng: f64,
}

impl LatLng {
    /// The point, if both are degrees on a globe.
    pub fn new(lat: f64, lng: f64) -> Result<Self, PlaceError> {
        if !(-90.0..=90.0).contains(&lat) {
            return Err(PlaceError::Latitude);
        }
        if !(-180.0..=180.0).contains(&lng) {
            return Err(PlaceError::Longitude);
        }
        Ok(Self { lat, lng })
    }

    /// Degrees north.
    pub const fn lat(self) -> f64 {
        self.lat
    }

    /// Degrees east.
    pub const fn lng(self) -> f64 {
        self.lng
    }

    /// Metres to another point, over ground.
    pub fn distance_m(self, other: Self) -> f64 {
        distance_m(self, other)
    }
}

const EARTH_RADIUS_M: f64 = 6_371_008.8;

/// Metres between two points along a great circle of a round earth (off by up to half a percent).
pub fn distance_m(a: LatLng, b: LatLng) -> f64 {
    let (lat_a, lat_b) = (a.lat.to_radians(), b.lat.to_radians());
    let half_lat = ((lat_b - lat_a) / 2.0).sin();
    let half_lng = ((b.lng - a.lng).to_radians() / 2.0).sin();
    let h = half_lat * half_lat + lat_a.cos() * lat_b.cos() * half_lng * half_lng;
    2.0 * EARTH_RADIUS_M * h.sqrt().min(1.0).asin()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn london_is_344_km_from_paris() {
        let london = LatLng::new(51.5074, -0.1278).unwrap();
        let paris = LatLng::new(48.8566, 2.3522).unwrap();
        assert!((distance_m(london, paris) - 343_556.0).abs() < 500.0);
        assert!(distance_m(london, london).abs() < f64::EPSILON);
    }

    #[test]
    fn a_place_is_on_the_globe() {
        assert_eq!(LatLng::new(f64::NAN, 0.0), Err(PlaceError::Latitude));
        assert_eq!(LatLng::new(90.1, 0.0), Err(PlaceError::Latitude));
        assert_eq!(LatLng::new(0.0, f64::INFINITY), Err(PlaceError::Longitude));
        assert!(LatLng::new(-90.0, 180.0).is_ok());
    }
}
