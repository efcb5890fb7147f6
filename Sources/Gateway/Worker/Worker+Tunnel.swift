import HTTP
import OpenSSLKit
import Proxy
import Reactor

/// WebSocket: by an upgrade over HTTP/1 (RFC 6455), by an extended CONNECT over HTTP/2 (RFC 8441), and between the two.
extension Worker {
    /// The key for an upstream of HTTP/1 where the caller, who speaks HTTP/2, has none.
    func webSocketKey(_ exchange: Exchange) -> [UInt8]? {
        guard exchange.wantsUpgrade, exchange.callerStream != nil else { return nil }
        let key = Array(Base64.encode(RandomBytes.bytes(16)).utf8)
        exchange.webSocketKey = key
        return key
    }

    /// The upstream has agreed; from now on both sides speak freely.
    func switchProtocols(_ exchange: Exchange) {
        guard exchange.wantsUpgrade, exchange.caller != nil else {
            upstreamBroken(exchange, .malformed("the upstream switched protocols and nobody had asked"))
            return
        }
        if let key = exchange.webSocketKey, !accepts(exchange, key) {
            upstreamBroken(exchange, .malformed("the upstream's Sec-WebSocket-Accept does not belong to our key"))
            return
        }
        let accept = exchange.upstreamStream == nil ? nil : accept(exchange)
        ResponseTransform.filter(&exchange.response)
        writeAgreement(exchange, accept: accept)
        exchange.headSent = true
        exchange.stage = .tunnel
        exchange.keepCaller = false
        exchange.requestEnded = false
        exchange.totalDeadline = .max
        _ = exchange.machine.responseHeadReceived(isRejection: false, challenge: true, replayable: false)
        stopUpstreamWait(exchange)
        queue(exchange)
    }

    /// Tells the caller in its own version's words.
    private func writeAgreement(_ exchange: Exchange, accept: [UInt8]?) {
        guard let caller = exchange.caller else { return }
        if exchange.callerStream != nil {
            exchange.response.drop(named: Self.acceptName)
            exchange.response.status = 200
            exchange.status = 200
            exchange.framing = .none
            refreshDate()
            writeHead(exchange, ends: false)
            return
        }
        exchange.status = 101
        caller.wire.outbound.acquire(from: buffers)
        exchange.response.status = 101
        if let accept { addField(exchange, value: accept) }
        ResponseTransform.writeInformational(exchange.response, to: &caller.wire.outbound)
        touch(caller)
    }

    private func addField(_ exchange: Exchange, value: [UInt8]) {
        exchange.response.drop(named: Self.acceptName)
        let name = exchange.response.store(Self.acceptName)
        let slice = value.withUnsafeBytes { exchange.response.store($0) }
        exchange.response.fields.append(Field(id: .other, name: name, value: slice))
    }

    private static var acceptName: UnsafeRawBufferPointer {
        let name: StaticString = "sec-websocket-accept"
        return UnsafeRawBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount)
    }

    /// What an HTTP/1 caller expects as the answer to its key (RFC 6455 4.2.2).
    private func accept(_ exchange: Exchange) -> [UInt8]? {
        guard let slice = exchange.request.value(.secWebSocketKey) else { return nil }
        return WebSocketHandshake.accept(for: Array(exchange.request.bytes(slice)))
    }

    private func accepts(_ exchange: Exchange, _ key: [UInt8]) -> Bool {
        let expected = WebSocketHandshake.accept(for: key)
        for index in exchange.response.fields.indices {
            let field = exchange.response.fields[index]
            guard Octet.equal(exchange.response.bytes(field.name), ignoringCase: "sec-websocket-accept") else {
                continue
            }
            return exchange.response.bytes(field.value).elementsEqual(expected)
        }
        return false
    }

    // MARK: Octets

    /// From an upstream of HTTP/1; true: something was taken.
    func passTunnelToCaller(_ exchange: Exchange, _ connection: UpstreamConnection) -> Bool {
        let bytes = connection.wire.inbound.readable
        exchange.responseBytes += UInt64(bytes.count)
        writeContent(exchange, bytes)
        if exchange.upstream === connection { connection.wire.inbound.removeAll() }
        // Half closed: the upstream's patience starts anew with what it says.
        if exchange.requestEnded, exchange.upstreamWait != .callerRoom {
            setWait(exchange, upstream: .response, after: connection.runtime.settings.responseIdleTimeout)
        }
        return true
    }

    /// From a caller of HTTP/1.
    func pumpTunnelFromCaller(_ exchange: Exchange, _ caller: CallerConnection) {
        while exchange.upstream != nil, !exchange.requestEnded, upstreamHasRoom(exchange) {
            if !caller.wire.inbound.isEmpty {
                writeContent(exchange, toUpstream: caller.wire.inbound.readable)
                guard exchange.caller === caller else { return }
                caller.wire.inbound.removeAll()
            }
            guard receive(caller) else {
                if exchange.caller === caller {
                    release(&caller.wire.inbound)
                    if caller.wire.inputEnded { endOfContent(exchange) }
                }
                return
            }
        }
    }

    /// The caller has said its last words: when they are written the upstream is told, and may still answer.
    func endTunnelUpstream(_ exchange: Exchange) {
        guard let connection = exchange.upstream else { return }
        // While the caller takes nothing of what is there already, the upstream may be silent.
        if !exchange.isHeldUp {
            setWait(exchange, upstream: .response, after: connection.runtime.settings.responseIdleTimeout)
        }
        if let stream = exchange.upstreamStream {
            connection.session?.finish(stream)
            touch(connection)
        } else if connection.wire.backlog == 0 {
            finishSending(&connection.wire)
        } else {
            touch(connection)
        }
    }

    /// The upstream has said its last words.
    func tunnelEnded(_ exchange: Exchange) {
        if let stream = exchange.callerStream, let caller = exchange.caller { caller.session?.finish(stream) }
        completeResponse(exchange)
    }
}

/// RFC 6455 1.3.
enum WebSocketHandshake {
    static func accept(for key: [UInt8]) -> [UInt8] {
        let identifier = Array("258EAFA5-E914-47DA-95CA-C5AB0DC85B11".utf8)
        return Array(Base64.encode(Digest.sha1(key + identifier)).utf8)
    }
}
