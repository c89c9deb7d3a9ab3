"""Calls any method of a gRPC server with nothing but its reflection service: no generated code, no .proto files."""

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.json_format import MessageToDict, ParseDict
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status

DEADLINE_S = 20


class Refused(Exception):
    """A call that was answered with an error; the google.rpc details are taken apart."""

    def __init__(self, error):
        super().__init__(f"{error.code().name}: {error.details()}")
        self.code = error.code().name
        self.reason, self.domain, self.facts, self.fields = None, None, {}, {}
        status = rpc_status.from_call(error)
        for detail in status.details if status else ():
            info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
            if detail.Unpack(info):
                self.reason, self.domain, self.facts = info.reason, info.domain, dict(info.metadata)
            elif detail.Unpack(bad):
                self.fields = {one.field: one.description for one in bad.field_violations}


class Server:
    """One gRPC server, known by address only."""

    def __init__(self, address, **channel_options):
        self.address = address
        self.channel = grpc.insecure_channel(address, **channel_options)
        self.database = ProtoReflectionDescriptorDatabase(self.channel)
        self.pool = descriptor_pool.DescriptorPool(self.database)

    def services(self):
        return sorted(self.database.get_services())

    def services_by_reflection_v1(self):
        """The same question to the newer reflection service, whose messages look the same on the wire."""
        ask = self.channel.stream_stream(
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        answers = ask(iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=DEADLINE_S)
        return sorted(one.name for one in next(answers).list_services_response.service)

    def message(self, full_name):
        return message_factory.GetMessageClass(self.pool.FindMessageTypeByName(full_name))

    def _method(self, path):
        service, name = path.split("/")
        method = self.pool.FindServiceByName(service).methods_by_name[name]
        request = message_factory.GetMessageClass(method.input_type)
        response = message_factory.GetMessageClass(method.output_type)
        make = self.channel.unary_stream if method.server_streaming else self.channel.unary_unary
        call = make(
            f"/{path}", request_serializer=request.SerializeToString, response_deserializer=response.FromString
        )
        return call, request

    def call(self, path, actor, body, deadline_s=DEADLINE_S):
        """Calls `package.Service/Method` with a dict, answers with a dict."""
        call, request = self._method(path)
        try:
            answer = call(ParseDict(body, request()), timeout=deadline_s, metadata=[("x-entrepot-actor", actor)])
        except grpc.RpcError as error:
            raise Refused(error) from None
        return plain(answer)

    def stream(self, path, actor, body, deadline_s=60):
        """Calls a method that answers with a stream; yields dicts."""
        call, request = self._method(path)
        for answer in call(ParseDict(body, request()), timeout=deadline_s, metadata=[("x-entrepot-actor", actor)]):
            yield plain(answer)


def plain(message):
    return MessageToDict(message, preserving_proto_field_name=True)
