/* libgearman's client: `client HOST PORT latency N` prints the microseconds of N foreground calls of `reverse`, a line each. */
#include <libgearman/gearman.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

int main(int argc, char **argv)
{
    static const char task[] = "{\"command\": \"reverse\", \"message\": \"abcdef\"}";
    if (argc != 5 || strcmp(argv[3], "latency") != 0) {
        fprintf(stderr, "usage: client HOST PORT latency N\n");
        return 2;
    }
    gearman_client_st *client = gearman_client_create(NULL);
    gearman_client_add_server(client, argv[1], atoi(argv[2]));
    for (int i = 0; i < atoi(argv[4]); i++) {
        char unique[32];
        size_t size;
        gearman_return_t status;
        snprintf(unique, sizeof(unique), "u%d", i);
        double start = now();
        void *result = gearman_client_do(client, "reverse", unique, task, sizeof(task) - 1, &size, &status);
        if (status != GEARMAN_SUCCESS) {
            fprintf(stderr, "%s\n", gearman_client_error(client));
            return 1;
        }
        printf("%.1f\n", now() - start);
        free(result);
    }
    gearman_client_free(client);
    return 0;
}
