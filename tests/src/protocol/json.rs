//! Protobuf messages as JSON that people can read, and back.
//!
//! Unlike the mapping of protobuf's own documentation it says what is inside an `Any`: a message
//! that is known here, JSON (which containerd puts there as well) or plain bytes in hexadecimal.

use anyhow::{Context, Result, bail};
use containerd_shim_protos::events::task as task_events;
use containerd_shim_protos::protobuf::reflect::{
    FieldDescriptor, MessageDescriptor, ReflectFieldRef, ReflectValueBox, ReflectValueRef,
    RuntimeFieldType, RuntimeType,
};
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;
use containerd_shim_protos::protobuf::{MessageDyn, MessageFull};
use serde_json::{Map, Value};

/// A message as JSON; fields that hold their default are left out.
///
/// # Errors
///
/// For a field of a kind that no message of the task service has.
pub fn of(message: &dyn MessageDyn) -> Result<Value> {
    if let Some(any) = message.downcast_ref::<Any>() {
        return any_of(any);
    }
    if let Some(time) = message.downcast_ref::<Timestamp>() {
        return Ok(Value::String(format!(
            "@{}.{:09}",
            time.seconds, time.nanos
        )));
    }
    let mut object = Map::new();
    for field in message.descriptor_dyn().fields() {
        let value = match field.get_reflect(message) {
            ReflectFieldRef::Optional(value) => match value.value() {
                Some(value) if field.has_field(message) => value_of(&value)?,
                _ => continue,
            },
            ReflectFieldRef::Repeated(values) if values.is_empty() => continue,
            ReflectFieldRef::Repeated(values) => {
                let values = (0..values.len()).map(|index| value_of(&values.get(index)));
                Value::Array(values.collect::<Result<_>>()?)
            }
            ReflectFieldRef::Map(map) if map.is_empty() => continue,
            ReflectFieldRef::Map(_) => bail!("{}: maps are not handled", field.full_name()),
        };
        object.insert(field.name().to_owned(), value);
    }
    Ok(Value::Object(object))
}

/// The bytes of a message as JSON.
///
/// # Errors
///
/// When they are no such message.
pub fn of_bytes(descriptor: &MessageDescriptor, bytes: &[u8]) -> Result<Value> {
    let message = descriptor
        .parse_from_bytes(bytes)
        .with_context(|| format!("no {}", descriptor.full_name()))?;
    of(&*message)
}

/// The bytes of the message that JSON stands for.
///
/// # Errors
///
/// When it stands for none.
pub fn to_bytes(descriptor: &MessageDescriptor, json: &Value) -> Result<Vec<u8>> {
    Ok(to_message(descriptor, json)?.write_to_bytes_dyn()?)
}

fn value_of(value: &ReflectValueRef<'_>) -> Result<Value> {
    Ok(match value {
        ReflectValueRef::U32(value) => (*value).into(),
        ReflectValueRef::U64(value) => (*value).into(),
        ReflectValueRef::I32(value) => (*value).into(),
        ReflectValueRef::I64(value) => (*value).into(),
        ReflectValueRef::F32(value) => (*value).into(),
        ReflectValueRef::F64(value) => (*value).into(),
        ReflectValueRef::Bool(value) => (*value).into(),
        ReflectValueRef::String(value) => (*value).into(),
        ReflectValueRef::Bytes(value) => hex(value).into(),
        ReflectValueRef::Enum(descriptor, number) => match descriptor.value_by_number(*number) {
            Some(value) => value.name().into(),
            None => (*number).into(),
        },
        ReflectValueRef::Message(message) => of(&**message)?,
    })
}

fn to_message(descriptor: &MessageDescriptor, json: &Value) -> Result<Box<dyn MessageDyn>> {
    let object = json
        .as_object()
        .with_context(|| format!("{} is an object: {json}", descriptor.full_name()))?;
    if *descriptor == Any::descriptor() {
        return Ok(Box::new(to_any(object)?));
    }
    let mut message = descriptor.new_instance();
    for (name, value) in object {
        let field = descriptor
            .field_by_name(name)
            .with_context(|| format!("{} has no field {name}", descriptor.full_name()))?;
        set(&mut *message, &field, value)?;
    }
    Ok(message)
}

fn set(message: &mut dyn MessageDyn, field: &FieldDescriptor, json: &Value) -> Result<()> {
    match field.runtime_field_type() {
        RuntimeFieldType::Singular(kind) => {
            field.set_singular_field(message, to_value(&kind, json)?);
        }
        RuntimeFieldType::Repeated(kind) => {
            let values = json.as_array().context("a list was expected")?;
            for value in values {
                field.mut_repeated(message).push(to_value(&kind, value)?);
            }
        }
        RuntimeFieldType::Map(..) => bail!("{}: maps are not handled", field.full_name()),
    }
    Ok(())
}

fn to_value(kind: &RuntimeType, json: &Value) -> Result<ReflectValueBox> {
    let misfit = || format!("{json} is no {kind}");
    let text = || json.as_str().with_context(misfit);
    Ok(match kind {
        RuntimeType::U32 => {
            let number = json.as_u64().and_then(|number| number.try_into().ok());
            ReflectValueBox::U32(number.with_context(misfit)?)
        }
        RuntimeType::I32 => {
            let number = json.as_i64().and_then(|number| number.try_into().ok());
            ReflectValueBox::I32(number.with_context(misfit)?)
        }
        RuntimeType::U64 => ReflectValueBox::U64(json.as_u64().with_context(misfit)?),
        RuntimeType::I64 => ReflectValueBox::I64(json.as_i64().with_context(misfit)?),
        RuntimeType::Bool => ReflectValueBox::Bool(json.as_bool().with_context(misfit)?),
        RuntimeType::String => ReflectValueBox::String(text()?.to_owned()),
        RuntimeType::VecU8 => ReflectValueBox::Bytes(unhex(text()?)?),
        RuntimeType::Enum(descriptor) => {
            let value = descriptor.value_by_name(text()?).with_context(misfit)?;
            ReflectValueBox::Enum(descriptor.clone(), value.value())
        }
        RuntimeType::Message(descriptor) => ReflectValueBox::Message(to_message(descriptor, json)?),
        RuntimeType::F32 | RuntimeType::F64 => bail!("{kind}: floats are not handled"),
    })
}

/// The messages that containerd and shims put in an `Any` and that are looked into.
fn known(type_url: &str) -> Option<MessageDescriptor> {
    let name = type_url.rsplit('/').next()?;
    [
        task_events::TaskCreate::descriptor(),
        task_events::TaskStart::descriptor(),
        task_events::TaskExit::descriptor(),
        task_events::TaskDelete::descriptor(),
        task_events::TaskPaused::descriptor(),
        task_events::TaskResumed::descriptor(),
        task_events::TaskOOM::descriptor(),
        task_events::TaskExecAdded::descriptor(),
        task_events::TaskExecStarted::descriptor(),
    ]
    .into_iter()
    .find(|descriptor| descriptor.full_name() == name)
}

fn any_of(any: &Any) -> Result<Value> {
    let mut object = Map::new();
    object.insert("type_url".into(), any.type_url.clone().into());
    if let Some(descriptor) = known(&any.type_url) {
        object.insert("message".into(), of_bytes(&descriptor, &any.value)?);
    } else if let Ok(json @ Value::Object(_)) = serde_json::from_slice(&any.value) {
        object.insert("json".into(), json);
    } else if !any.value.is_empty() {
        object.insert("hex".into(), hex(&any.value).into());
    }
    Ok(Value::Object(object))
}

fn to_any(object: &Map<String, Value>) -> Result<Any> {
    let type_url = object
        .get("type_url")
        .and_then(Value::as_str)
        .context("an Any has a type_url")?;
    let value = if let Some(json) = object.get("message") {
        to_bytes(&known(type_url).context("unknown type")?, json)?
    } else if let Some(json) = object.get("json") {
        json.to_string().into_bytes()
    } else {
        unhex(
            object
                .get("hex")
                .and_then(Value::as_str)
                .unwrap_or_default(),
        )?
    };
    Ok(Any {
        type_url: type_url.to_owned(),
        value,
        ..Any::default()
    })
}

/// Bytes in lower case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes of hexadecimal.
///
/// # Errors
///
/// When it is none.
pub fn unhex(text: &str) -> Result<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        bail!("`{text}` is not hexadecimal");
    }
    (0..text.len())
        .step_by(2)
        .map(|at| {
            u8::from_str_radix(&text[at..at + 2], 16)
                .with_context(|| format!("`{text}` is not hexadecimal"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use containerd_shim_protos::api::CreateTaskRequest;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_message_comes_back_as_it_was() {
        let json = json!({
            "id": "one",
            "rootfs": [{"type": "overlay", "options": ["lowerdir=/a"]}],
            "terminal": true,
            "options": {"type_url": "x/y", "json": {"a": [1]}},
        });
        let descriptor = CreateTaskRequest::descriptor();
        let bytes = to_bytes(&descriptor, &json).unwrap();
        assert_eq!(of_bytes(&descriptor, &bytes).unwrap(), json);
    }

    #[test]
    fn a_field_that_is_not_there_is_an_error() {
        let error = to_bytes(&CreateTaskRequest::descriptor(), &json!({"idd": "one"}));
        assert!(error.unwrap_err().to_string().contains("idd"));
    }

    #[test]
    fn an_event_is_looked_into() {
        let json = json!({
            "type_url": "containerd.events.TaskStart",
            "message": {"container_id": "one", "pid": 7},
        });
        let bytes = to_bytes(&Any::descriptor(), &json).unwrap();
        assert_eq!(of_bytes(&Any::descriptor(), &bytes).unwrap(), json);
    }
}
