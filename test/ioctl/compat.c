/* Inode flags as a 32-bit program asks for them: by the system call gate of 32-bit x86. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/mman.h>

static int ioctl32(int fd, unsigned command, unsigned *argument)
{
	int result;
	/* 54 is ioctl in the 32-bit table. */
	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"(54), "b"(fd), "c"(command), "d"((unsigned)(unsigned long)argument)
			 : "memory", "r8", "r9", "r10", "r11");
	return result;
}

int main(int argc, char **argv)
{
	int fd = open(argv[argc - 1], O_RDONLY);
	unsigned *argument = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	unsigned guard = 0x5a5a5a5a;

	argument[1] = guard;
	printf("GETFLAGS %d", ioctl32(fd, FS_IOC32_GETFLAGS, argument));
	printf(" %x%s\n", argument[0], argument[1] == guard ? "" : ", wrote more than an int");
	argument[0] |= FS_NODUMP_FL;
	printf("SETFLAGS %d\n", ioctl32(fd, FS_IOC32_SETFLAGS, argument));
	printf("GETFLAGS %d", ioctl32(fd, FS_IOC32_GETFLAGS, argument));
	printf(" %x\n", argument[0]);
	printf("FSGETXATTR %d", ioctl32(fd, FS_IOC_FSGETXATTR, argument));
	printf(" %x\n", argument[0]);
	argument[0] = 0;
	printf("FSSETXATTR %d\n", ioctl32(fd, FS_IOC_FSSETXATTR, argument));
	printf("GETFLAGS %d", ioctl32(fd, FS_IOC32_GETFLAGS, argument));
	printf(" %x\n", argument[0]);
	return 0;
}
