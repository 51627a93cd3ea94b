//! Which requests are served. There are no credentials here, and every web page that a browser shows can send requests
//! to a loopback port. So requests that only a foreign page would send are refused, by these headers:
//!
//! - `Host`, `:authority`: the name of a page's host that was made to resolve to this machine (DNS rebinding)
//! - `Origin`, `Sec-Fetch-Site`: what a browser tells about the page that sends a request
//! - `Content-Type`: the types that a browser sends to another origin without a preflight request, the "simple" ones of
//!   <https://fetch.spec.whatwg.org/#cors-safelisted-request-header>
//!
//! A preflight request gets an answer without CORS headers, so that the browser does not send the actual request.

use std::net::IpAddr;

use http::header::{CONTENT_TYPE, HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, Method, Request};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SIMPLE_TYPES: [&str; 3] = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"];

/// Whether a request may be served.
///
/// # Errors
/// Why the request is refused: what was found, and what to send instead.
pub(super) fn check<B>(request: &Request<B>) -> Result<(), String> {
    let headers = request.headers();
    let authority = request.uri().authority().map(Authority::as_str);
    let hosts: Vec<&str> = authority.into_iter().chain(values(headers, HOST)).collect();
    if let Some(host) = hosts.iter().find(|host| !is_loopback(host)) {
        return Err(format!(
            "expected a Host of this machine, such as localhost:PORT or 127.0.0.1:PORT; found {host:?}. Send requests \
             to the address that the local Pub/Sub listens on."
        ));
    }
    let own = |origin: &str| {
        let origin = origin.strip_prefix("http://");
        origin.is_some_and(|origin| hosts.iter().any(|host| host.eq_ignore_ascii_case(origin)))
    };
    if let Some(origin) = values(headers, ORIGIN).find(|origin| !own(origin)) {
        return Err(format!(
            "expected no Origin; found {origin:?}. The local Pub/Sub serves no pages of browsers: send the request \
             from a server or a command line."
        ));
    }
    if let Some(site) = values(headers, SEC_FETCH_SITE).find(|site| !matches!(*site, "same-origin" | "none")) {
        return Err(format!(
            "expected a request of no other site; found Sec-Fetch-Site: {site}. The local Pub/Sub serves no pages of \
             browsers: send the request from a server or a command line."
        ));
    }
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if let Some(simple) = values(headers, CONTENT_TYPE).find(|value| !reads && is_simple(value)) {
        return Err(format!(
            "expected Content-Type: application/json; found {simple:?}, which any page of a browser may send. Set the \
             header (curl: -H 'Content-Type: application/json')."
        ));
    }
    Ok(())
}

/// A value that is not text becomes one that every check refuses.
fn values(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers.get_all(name).into_iter().map(|value| value.to_str().unwrap_or("\u{fffd}"))
}

/// Whether `HOST` or `HOST:PORT` is this machine, whatever a name server says.
fn is_loopback(authority: &str) -> bool {
    let Ok(authority) = authority.parse::<Authority>() else { return false };
    let host = authority.host();
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = address.parse::<IpAddr>() {
        return address.to_canonical().is_loopback();
    }
    // RFC 6761: names under `localhost` are loopback addresses, and not asked of a name server.
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

fn is_simple(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    SIMPLE_TYPES.iter().any(|simple| essence.eq_ignore_ascii_case(simple))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_served(method: &str, uri: &str, headers: &[(&str, &str)]) -> bool {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check(&request.body(()).unwrap()).is_ok()
    }

    #[test]
    fn loopback_hosts_are_served_and_no_others() {
        for host in [
            "localhost",
            "localhost:8085",
            "LocalHost:1",
            "localhost.:80",
            "bus.localhost:8085",
            "127.0.0.1",
            "127.0.0.1:8085",
            "127.1.2.3:8085",
            "[::1]",
            "[::1]:8085",
            "[::ffff:127.0.0.1]:8085",
        ] {
            assert!(is_served("POST", "/v1/x", &[("host", host)]), "{host}");
            assert!(is_served("POST", &format!("http://{host}/v1/x"), &[]), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8085",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.1@evil.example",
            "notlocalhost",
            "0.0.0.0:8085",
            "10.0.0.1:8085",
            "169.254.169.254",
            "[::]:8085",
            "[fe80::1]:8085",
            "",
            "a b",
        ] {
            assert!(!is_served("GET", "/", &[("host", host)]), "{host}");
            assert!(!is_served("GET", "/", &[("host", "localhost"), ("host", host)]), "{host}");
        }
        assert!(!is_served("POST", "http://evil.example/x", &[("host", "localhost:1")]));
    }

    #[test]
    fn a_page_is_refused_unless_it_is_the_bus_own() {
        let host = ("host", "127.0.0.1:8085");
        for origin in [
            "null",
            "",
            "http://evil.example",
            "https://127.0.0.1:8085",
            "http://127.0.0.1",
            "http://127.0.0.1:3000",
            "http://localhost:8085",
            "http://127.0.0.1:8085.evil.example",
            "chrome-extension://abc",
        ] {
            assert!(!is_served("POST", "/v1/x", &[host, ("origin", origin)]), "{origin}");
            assert!(!is_served("GET", "/v1/x", &[host, ("origin", origin)]), "{origin}");
            assert!(!is_served("OPTIONS", "/v1/x", &[host, ("origin", origin)]), "{origin}");
        }
        assert!(is_served("POST", "/v1/x", &[host, ("origin", "http://127.0.0.1:8085")]));
        for site in ["cross-site", "same-site", "other"] {
            assert!(!is_served("GET", "/v1/x", &[host, ("sec-fetch-site", site)]), "{site}");
        }
        for site in ["same-origin", "none"] {
            assert!(is_served("GET", "/v1/x", &[host, ("sec-fetch-site", site)]), "{site}");
        }
    }

    #[test]
    fn types_that_a_browser_sends_unasked_change_nothing() {
        let host = ("host", "localhost:8085");
        for simple in [
            "text/plain",
            "Text/Plain;charset=UTF-8",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
        ] {
            for method in ["POST", "PUT", "PATCH", "DELETE"] {
                assert!(!is_served(method, "/v1/x", &[host, ("content-type", simple)]), "{method} {simple}");
            }
            assert!(is_served("GET", "/v1/x", &[host, ("content-type", simple)]), "{simple}");
        }
        for other in
            ["application/json", "application/json; charset=utf-8", "application/grpc", "application/grpc+proto"]
        {
            assert!(is_served("POST", "/v1/x", &[host, ("content-type", other)]), "{other}");
        }
        assert!(is_served("POST", "/v1/x", &[host]));
    }
}
