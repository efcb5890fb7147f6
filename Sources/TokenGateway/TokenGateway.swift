@main
struct TokenGateway {
    static func main() {}
}
