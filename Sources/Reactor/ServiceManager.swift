import CLinux
import Glibc

/// Tells systemd, or whoever set `NOTIFY_SOCKET`, how the service is: the protocol of `sd_notify(3)`.
package enum ServiceManager {
    /// Sends `READY=1`, `RELOADING=1`, `STOPPING=1`, `STATUS=…`; several are separated by line feeds. Does nothing
    /// without the variable, and never fails: nobody could act on it. `RELOADING=1` gets the `MONOTONIC_USEC` that
    /// systemd asks for. Reads the environment: not while another thread changes it.
    package static func notify(_ state: String) {
        guard let path = unsafe getenv("NOTIFY_SOCKET") else { return }
        _ = send(state, to: unsafe String(cString: path), now: MonotonicClock.nanoseconds())
    }

    /// Nil when it was sent. `path` starts with `/`, or with `@` for a name outside of the file system.
    static func send(_ state: String, to path: String, now: UInt64) -> Errno? {
        var message = state
        if state.split(separator: "\n").contains("RELOADING=1") {
            message += "\nMONOTONIC_USEC=\(now / 1000)"
        }
        let result = message.withUTF8 { bytes in
            unsafe tg_notify(path, bytes.baseAddress, bytes.count)
        }
        return result < 0 ? Errno(code: -result) : nil
    }
}
