"""The messages of ``config.pbtxt``: fields of ``ModelConfig`` as Triton publishes them.

Source: ``protobuf/model_config.proto`` of triton-inference-server/common. Texts name no numbers of
fields, so the numbers here are only places in this table.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

PACKAGE = "anabranch.triton"
ENUMS = {
    "DataType": "INVALID BOOL UINT8 UINT16 UINT32 UINT64 INT8 INT16 INT32 INT64 FP16 FP32 FP64 "
    "STRING BF16",
    "InstanceKind": "AUTO GPU CPU MODEL",
    "SecondaryDeviceKind": "NVDLA",
    "Format": "NONE NHWC NCHW",
    "BatchInputKind": "ELEMENT_COUNT ACCUMULATED_ELEMENT_COUNT ACCUMULATED_ELEMENT_COUNT_WITH_ZERO "
    "MAX_ELEMENT_COUNT_AS_SHAPE ITEM_SHAPE ITEM_SHAPE_FLATTEN",
    "BatchOutputKind": "SCATTER_WITH_INPUT_SHAPE",
    "Priority": "DEFAULT MAX MIN",
    "TimeoutAction": "REJECT DELAY",
    "ControlKind": "START READY END CORRID",
}
PREFIXES = {
    "DataType": "TYPE_",
    "InstanceKind": "KIND_",
    "SecondaryDeviceKind": "KIND_",
    "Format": "FORMAT_",
    "BatchInputKind": "BATCH_",
    "BatchOutputKind": "BATCH_",
    "Priority": "PRIORITY_",
    "ControlKind": "CONTROL_SEQUENCE_",
}
"""Beginnings of the values of an enumeration."""
MESSAGES = {
    "RateLimiterResource": "name:string global:bool count:uint32",
    "RateLimiter": "resources:RateLimiterResource* priority:uint32",
    "SecondaryDevice": "kind:SecondaryDeviceKind device_id:int64",
    "InstanceGroup": "name:string kind:InstanceKind count:int32 rate_limiter:RateLimiter "
    "gpus:int32* secondary_devices:SecondaryDevice* profile:string* passive:bool "
    "host_policy:string",
    "Reshape": "shape:int64*",
    "Input": "name:string data_type:DataType format:Format dims:int64* reshape:Reshape "
    "is_shape_tensor:bool allow_ragged_batch:bool optional:bool is_non_linear_format_io:bool",
    "Output": "name:string data_type:DataType dims:int64* reshape:Reshape label_filename:string "
    "is_shape_tensor:bool is_non_linear_format_io:bool",
    "BatchInput": "kind:BatchInputKind target_name:string* data_type:DataType source_input:string*",
    "BatchOutput": "target_name:string* kind:BatchOutputKind source_input:string*",
    "LatestVersions": "num_versions:uint32",
    "AllVersions": "",
    "SpecificVersions": "versions:int64*",
    "VersionPolicy": "latest:LatestVersions|policy all:AllVersions|policy "
    "specific:SpecificVersions|policy",
    "OptimizationGraph": "level:int32",
    "CudaShape": "dim:int64*",
    "CudaLowerBound": "batch_size:int32 input:string>CudaShape",
    "CudaGraphSpec": "batch_size:int32 input:string>CudaShape graph_lower_bound:CudaLowerBound",
    "Cuda": "graphs:bool busy_wait_events:bool graph_spec:CudaGraphSpec* output_copy_stream:bool",
    "Accelerator": "name:string parameters:string>string",
    "Accelerators": "gpu_execution_accelerator:Accelerator* cpu_execution_accelerator:Accelerator*",
    "PinnedMemory": "enable:bool",
    "Optimization": "graph:OptimizationGraph priority:Priority cuda:Cuda "
    "execution_accelerators:Accelerators input_pinned_memory:PinnedMemory "
    "output_pinned_memory:PinnedMemory gather_kernel_buffer_threshold:uint32 eager_batching:bool",
    "QueuePolicy": "timeout_action:TimeoutAction default_timeout_microseconds:uint64 "
    "allow_timeout_override:bool max_queue_size:uint32",
    "DynamicBatching": "preferred_batch_size:int32* max_queue_delay_microseconds:uint64 "
    "preserve_ordering:bool priority_levels:uint64 default_priority_level:uint64 "
    "default_queue_policy:QueuePolicy priority_queue_policy:uint64>QueuePolicy",
    "Control": "kind:ControlKind int32_false_true:int32* fp32_false_true:float* "
    "bool_false_true:bool* data_type:DataType",
    "ControlInput": "name:string control:Control*",
    "InitialState": "data_type:DataType dims:int64* zero_data:bool|state data_file:string|state "
    "name:string",
    "State": "input_name:string output_name:string data_type:DataType dims:int64* "
    "initial_state:InitialState* use_same_buffer_for_input_output:bool use_growable_memory:bool",
    "DirectStrategy": "max_queue_delay_microseconds:uint64 minimum_slot_utilization:float",
    "OldestStrategy": "max_candidate_sequences:int32 preferred_batch_size:int32* "
    "max_queue_delay_microseconds:uint64 preserve_ordering:bool",
    "SequenceBatching": "direct:DirectStrategy|strategy oldest:OldestStrategy|strategy "
    "max_sequence_idle_microseconds:uint64 control_input:ControlInput* state:State* "
    "iterative_sequence:bool",
    "Step": "model_name:string model_version:int64 input_map:string>string "
    "output_map:string>string model_namespace:string",
    "Ensembling": "step:Step* max_inflight_requests:uint32",
    "Parameter": "string_value:string",
    "WarmupInput": "data_type:DataType dims:int64* zero_data:bool|data random_data:bool|data "
    "input_data_file:string|data",
    "Warmup": "name:string batch_size:uint32 inputs:string>WarmupInput count:uint32",
    "Operations": "op_library_filename:string*",
    "TransactionPolicy": "decoupled:bool",
    "Agent": "name:string parameters:string>string",
    "Agents": "agents:Agent*",
    "ResponseCache": "enable:bool",
    "MetricIdentifier": "family:string",
    "HistogramOptions": "buckets:double*",
    "MetricControl": "metric_identifier:MetricIdentifier "
    "histogram_options:HistogramOptions|options",
    "Metrics": "metric_control:MetricControl*",
    "ModelConfig": "name:string platform:string backend:string runtime:string "
    "version_policy:VersionPolicy max_batch_size:int32 input:Input* output:Output* "
    "batch_input:BatchInput* batch_output:BatchOutput* optimization:Optimization "
    "dynamic_batching:DynamicBatching|scheduling sequence_batching:SequenceBatching|scheduling "
    "ensemble_scheduling:Ensembling|scheduling instance_group:InstanceGroup* "
    "default_model_filename:string cc_model_filenames:string>string metric_tags:string>string "
    "parameters:string>Parameter model_warmup:Warmup* model_operations:Operations "
    "model_transaction_policy:TransactionPolicy model_repository_agents:Agents "
    "response_cache:ResponseCache model_metrics:Metrics",
}
"""Fields of each message as ``name:type``: ``*`` is repeated, ``key>value`` a map, ``|name`` one of
a choice."""


def model_config() -> Any:
    """Return an empty ``ModelConfig``."""
    return _MODEL_CONFIG()


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="anabranch/triton.proto", package=PACKAGE, syntax="proto3"
    )
    for name, values in ENUMS.items():
        # In a message of its own: values of enumerations side by side share one scope.
        enum = file.message_type.add(name=f"Of{name}").enum_type.add(name=name)
        for number, value in enumerate(values.split()):
            enum.value.add(name=PREFIXES.get(name, "") + value, number=number)
    for name, fields in MESSAGES.items():
        _add_fields(file.message_type.add(name=name), fields)
    return file


def _add_fields(message: descriptor_pb2.DescriptorProto, fields: str) -> None:
    for number, text in enumerate(fields.split(), 1):
        name, _, kind = text.partition(":")
        kind, _, choice = kind.partition("|")
        field = message.field.add(name=name, number=number)
        repeated = kind.endswith("*") or ">" in kind
        field.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
        if ">" in kind:
            kind = _map_entry(message, name, kind)
        _set_type(field, kind.rstrip("*"))
        if choice:
            names = [one.name for one in message.oneof_decl]
            if choice not in names:
                message.oneof_decl.add(name=choice)
                names.append(choice)
            field.oneof_index = names.index(choice)


def _map_entry(message: descriptor_pb2.DescriptorProto, field: str, kind: str) -> str:
    """Add the message of a map's entries; return its name."""
    key, _, value = kind.partition(">")
    entry = message.nested_type.add(name="".join(map(str.title, field.split("_"))) + "Entry")
    entry.options.map_entry = True
    _add_fields(entry, f"key:{key} value:{value}")
    return f"{message.name}.{entry.name}"


def _set_type(field: descriptor_pb2.FieldDescriptorProto, kind: str) -> None:
    if kind in ENUMS:
        field.type = field.TYPE_ENUM
        field.type_name = f".{PACKAGE}.Of{kind}.{kind}"
    elif kind.partition(".")[0] in MESSAGES:
        field.type = field.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{kind}"
    else:
        field.type = getattr(field, f"TYPE_{kind.upper()}")


def _loaded() -> Any:
    pool = DescriptorPool()
    pool.Add(_file())
    return GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.ModelConfig"))


_MODEL_CONFIG = _loaded()
