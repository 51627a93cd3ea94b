//! The trace that a message belongs to, for the log.

use crate::Message;

/// What a transport knows about the trace of a message, as it was received. Pulled messages have none beside their
/// attributes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TraceContext<'a> {
    /// W3C `traceparent`: <https://www.w3.org/TR/trace-context/#traceparent-header>.
    pub(crate) traceparent: Option<&'a str>,
    /// Google's older form, `TRACE_ID/SPAN_ID;o=OPTIONS` with the span as a decimal number.
    pub(crate) cloud_trace: Option<&'a str>,
}

/// A trace and a span of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TraceIds {
    /// Cloud Logging's name, `projects/PROJECT/traces/TRACE_ID`; the id alone where no project is set.
    pub(crate) trace: String,
    /// 16 hexadecimal digits.
    pub(crate) span_id: String,
}

impl TraceContext<'_> {
    /// The message's own `traceparent`, which its producer set, else the transport's, else Google's older form. `None`
    /// where none of them can be parsed.
    pub(super) fn ids(&self, message: &Message, project: Option<&str>) -> Option<TraceIds> {
        let own = ["traceparent", "googclient_traceparent"]
            .into_iter()
            .find_map(|name| message.attributes.get(name).map(String::as_str));
        let parent = own.or(self.traceparent).and_then(|text| {
            let mut parts = text.split('-').skip(1);
            Some((parts.next()?, parts.next()?.to_owned()))
        });
        let cloud = || {
            let (trace, rest) = self.cloud_trace?.split_once('/')?;
            let span: u64 = rest.split(';').next()?.parse().ok()?;
            Some((trace, format!("{span:016x}")))
        };
        let hexadecimal = |text: &str, length| text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit());
        let (trace, span_id) = parent.or_else(cloud)?;
        if !hexadecimal(trace, 32) || !hexadecimal(&span_id, 16) {
            return None;
        }
        let trace = match project {
            Some(project) => format!("projects/{project}/traces/{trace}"),
            None => trace.to_owned(),
        };
        Some(TraceIds { trace, span_id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trace_is_the_message_s_else_the_request_s() {
        const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
        let of = |attribute: Option<&str>, context: TraceContext<'_>| {
            let mut message = Message::default();
            if let Some(value) = attribute {
                message.attributes.insert("traceparent".into(), value.into());
            }
            context.ids(&message, Some("p"))
        };
        let traceparent = |text| TraceContext { traceparent: Some(text), ..TraceContext::default() };
        let cloud_trace = |text| TraceContext { cloud_trace: Some(text), ..TraceContext::default() };
        let parent = format!("00-{ID}-00f067aa0ba902b7-01");
        let found = Some(TraceIds { trace: format!("projects/p/traces/{ID}"), span_id: "00f067aa0ba902b7".to_owned() });
        assert_eq!(of(Some(&parent), traceparent("00-0-1-00")), found);
        assert_eq!(of(None, traceparent(&parent)), found);
        let cloud = format!("{ID}/67667974448284343;o=1");
        assert_eq!(of(None, cloud_trace(&cloud)), found);
        for nonsense in ["", "00", "00-zz-00f067aa0ba902b7-01", "00--", "x/y;z"] {
            assert_eq!(of(Some(nonsense), TraceContext::default()), None);
            assert_eq!(of(None, cloud_trace(nonsense)), None);
        }
    }
}
