/* A line server as one should not write it: `overflow PORT`. It copies a line of any length into 256 bytes. */

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void answer(int client, const char *received, size_t length) {
    char line[256];
    memcpy(line, received, length);
    write(client, "AT ", 3);
    write(client, line, length);
}

int main(int count, char **arguments) {
    static char received[1 << 20];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_port = htons(count > 1 ? atoi(arguments[1]) : 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 64)) return 1;
    for (;;) {
        int client = accept(listener, NULL, NULL);
        size_t length = 0;
        ssize_t more;
        while ((more = read(client, received + length, sizeof received - length)) > 0) {
            length += more;
            if (received[length - 1] == '\n') {
                answer(client, received, length);
                length = 0;
            }
        }
        close(client);
    }
}
