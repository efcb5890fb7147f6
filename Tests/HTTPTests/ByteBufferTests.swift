import HTTP
import Testing

@Suite struct ByteBufferTests {
    @Test(arguments: 0..<40)
    func `a buffer does what an array does under random operations`(seed: Int) {
        var random = SeededRandom(seed: UInt64(seed))
        let pool = BufferPool(blockBytes: 64, limit: 2)
        var buffer = ByteBuffer()
        var model: [UInt8] = []
        for step in 0..<600 {
            operate(&buffer, &model, pool, &random)
            guard buffer.array() == model, buffer.count == model.count, buffer.isEmpty == model.isEmpty,
                buffer.capacity >= model.count
            else {
                Issue.record("differs after step \(step)")
                return
            }
        }
    }

    private func operate(
        _ buffer: inout ByteBuffer, _ model: inout [UInt8], _ pool: BufferPool, _ random: inout SeededRandom
    ) {
        let number = Int.random(in: 0...80, using: &random)
        let bytes = (0..<number).map { _ in UInt8.random(in: 0...255, using: &random) }
        switch Int.random(in: 0..<13, using: &random) {
        case 0, 1:
            buffer.append(bytes)
            model += bytes
        case 2:
            buffer.append(UInt8(number))
            model.append(UInt8(number))
        case 3, 4:
            let length = min(number, model.count)
            buffer.consume(length)
            model.removeFirst(length)
        case 5:
            let room = buffer.writable(minimum: number)
            #expect(room.count >= number)
            room.copyBytes(from: bytes)
            buffer.commit(number)
            model += bytes
        case 6:
            let length = Int.random(in: 0...model.count, using: &random)
            buffer.truncate(to: length)
            model.removeLast(model.count - length)
        case 7:
            buffer.acquire(from: pool)
        case 8:
            buffer.releaseIfEmpty(to: pool)
        case 9 where number > 60:
            buffer.release(to: pool)
            model = []
            #expect(buffer.capacity == 0)
        case 10 where number > 60:
            buffer.removeAll()
            model = []
        case 11:
            buffer.reserve(number)
        case 12 where !model.isEmpty:
            let offset = Int.random(in: 0..<model.count, using: &random)
            #expect(buffer[offset] == model[offset])
        default:
            buffer.append("text")
            model += octets("text")
        }
    }

    @Test(
        arguments: [
            0, 1, 9, 10, 15, 16, 99, 100, 255, 256, 4095, 4096, UInt64(Int64.max), UInt64(Int64.max) + 1,
            UInt64.max - 1,
            UInt64.max,
        ])
    func `numbers are written in decimal and hexadecimal`(number: UInt64) {
        var buffer = ByteBuffer()
        buffer.appendDecimal(number)
        #expect(buffer.array() == octets(String(number)))
        buffer.removeAll()
        buffer.appendHexadecimal(number)
        #expect(buffer.array() == octets(String(number, radix: 16)))
    }

    @Test func `text of every kind is appended`() {
        var buffer = ByteBuffer()
        buffer.append("" as StaticString)
        buffer.append([])
        buffer.append(UnsafeRawBufferPointer(start: nil, count: 0))
        let ownsNothing = buffer.isEmpty && !buffer.ownsMemory
        #expect(ownsNothing)
        buffer.append("a" as StaticString)
        buffer.append("b\u{E9}" as String)
        #expect(buffer.array() == [0x61, 0x62, 0xC3, 0xA9])
    }

    @Test func `an empty buffer gives room even when none is asked for`() {
        var buffer = ByteBuffer()
        let room = buffer.writable(minimum: 0).count
        let waiting = buffer.readable.count
        #expect(room > 0)
        #expect(waiting == 0)
    }

    @Test func `a buffer that is filled and drained does not grow`() {
        var buffer = ByteBuffer(capacity: 1024)
        for _ in 0..<1000 {
            buffer.append([UInt8](repeating: 1, count: 512))
            buffer.consume(500)
            buffer.consume(12)
        }
        #expect(buffer.capacity == 1024)
    }

    @Test func `a pool keeps as many blocks as it may`() {
        let pool = BufferPool(blockBytes: 4096, limit: 1)
        var one = ByteBuffer()
        var two = ByteBuffer()
        one.acquire(from: pool)
        two.acquire(from: pool)
        #expect(one.capacity == 4096)
        one.append("x")
        two.append("y")
        #expect(one.array() == octets("x"))
        #expect(two.array() == octets("y"))
        one.release(to: pool)
        two.release(to: pool)
        one.acquire(from: pool)
        two.acquire(from: pool)
        let areEmpty = one.isEmpty && two.isEmpty
        #expect(areEmpty)
        one.append([UInt8](repeating: 1, count: 5000))
        one.release(to: pool)
        #expect(one.capacity == 0)
    }
}
