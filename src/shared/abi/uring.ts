/** FUSE over io_uring: commands, and the structures around a request (include/uapi/linux/fuse.h). */

/** struct fuse_uring_req_header: the header of a request, or of its reply; the first argument; the rest. */
export const URING_HEADER = { SIZE: 288, in_out: 0, op_in: 128, entry: 256 } as const;
/** struct fuse_uring_ent_in_out, at URING_HEADER.entry. */
export const URING_ENTRY = { commit_id: 8, payload_sz: 16 } as const;
/** struct fuse_uring_cmd_req, in the command area of an SQE. */
export const URING_COMMAND = { SIZE: 24, flags: 0, commit_id: 8, qid: 16 } as const;
/** enum fuse_uring_cmd. */
export const URING_REGISTER = 1;
export const URING_COMMIT_AND_FETCH = 2;
