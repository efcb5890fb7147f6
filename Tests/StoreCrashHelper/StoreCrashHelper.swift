@main
struct StoreCrashHelper {
    static func main() {}
}
