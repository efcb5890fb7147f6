import Console
import Reactor
final class ConsoleServer {
    init(loop: ControlLoop, listeners: [Descriptor], _ handler: @escaping (ConsoleRequest, @escaping (ConsoleResponse) -> Void) -> Void) throws {}
    func stop() {}
}
